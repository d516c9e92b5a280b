"""A text beside one that it repeats: another name or number in a place, changed places, a "not" more or less."""

import pytest

from tasks.text.departures import departs

BRIDGE = "The bridge over the Tarn was begun in 1871 by Edith Crane and opened in 1874 by Mayor Hollis."
TREATY = "Under the treaty Denland gave the port to Morvia in 1756."

DEPARTS = [
    (BRIDGE, "The bridge over the Tarn was begun in 1871 by Ansel Moriak and opened in 1874 by Mayor Hollis."),
    (BRIDGE, "The bridge over the Tarn was begun in 1874 by Edith Crane and opened in 1871 by Mayor Hollis."),
    (BRIDGE, "The bridge over the Isk was begun in 1871 by Edith Crane."),
    (BRIDGE, "The bridge over the Tarn was not begun in 1871 by Edith Crane."),
    (BRIDGE, "The bridge over the Tarn was never begun in 1871 by Edith Crane."),
    (TREATY, "Under the treaty Morvia gave the port to Denland in 1756."),
    (TREATY, "Under the treaty Denland gave the port to Ostrova in 1756."),
    ("The casing of the pump is painted red.", "The casing of the pump is painted blue."),
    ("Morvia signed the treaty first.", "Denland signed the treaty first."),
    ("Lena Voss climbed it first", "Lena Voss climbed it first or Jon Hale."),
    ("the harbour of Lindau", "the harbour of Lindau and Corvo."),
    ("The lift must not be used in a fire.", "The lift must be used in a fire."),
    ("The lift does not stop at floor 3.", "The lift stops at floor 3."),
    ("It isn't sold in Tellin shops.", "It is sold in Tellin shops."),
    ("Der Turm steht nicht am Hafen von Lindau.", "Der Turm steht am Hafen von Lindau."),
    ("Le pont de Corvo date de 1871.", "Le pont de Corvo date de 1903."),
]
REPEATS = [
    (BRIDGE, BRIDGE),
    (BRIDGE, "Edith Crane began the bridge over the Tarn in 1871. Mayor Hollis opened it three years later."),
    (BRIDGE, "It was begun in 1871 by Edith Crane."),
    (TREATY, "Denland had to give Morvia the port in 1756, under the treaty."),
    (TREATY, "Under the treaty the port was given to Morvia in 1756 by Denland."),
    ("Anna, Ben and Carl signed it.", "Carl, Ben and Anna signed it."),
    ("The Mexican army crossed the river in May.", "The Mexico army crossed the river in May."),
    ("It runs at 5 kW in the Orva 300.", "It runs at 5000 W in the Orva 300."),
    ("The casing of the pump is painted red.", "The casing of the pump is coloured red."),
    ("It weighs 12 kg or more.", "It weighs 12 kg, or more."),
    ("The lift stops at floor 3.", "The lift stops not only at floor 3 but also at floor 5."),
    ("John Hale found the cave in 1903.", "J. Hale found the cave in 1903."),
]


def judged(other: str, text: str) -> bool:
    code = "de" if other.startswith("Der ") else "fr" if other.startswith("Le ") else "en"
    return departs(text, other, "", f"{other} There was Morvia, and there was Denland. The valve is blue.", code)


@pytest.mark.parametrize(("other", "text"), DEPARTS)
def test_another_name_or_number_in_the_same_words_is_a_departure(other, text):
    assert judged(other, text)


@pytest.mark.parametrize(("other", "text"), REPEATS)
def test_own_words_lists_notations_and_endings_are_none(other, text):
    assert not judged(other, text)


def test_a_name_that_was_asked_about_may_stand_for_another():
    said, other = "The Orva pump needs oil twice a year.", "The Kestra pump needs oil twice a year."
    assert departs(said, other, "How often does it need oil?", "")
    assert not departs(said, other, "How often does the Orva need oil?", "")
