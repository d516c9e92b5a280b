"""What is most like a question: by its words, of other documents, whatever else there is and in whatever order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tasks.data.triplets import Triplet
from tasks.evaluation.slicing.question import Nearest

THINGS = ["oil", "pressure", "belt", "colour", "weight", "label", "limit", "speed"]


def question(number: int, words: str) -> Triplet:
    return Triplet(f"q{number}", f"sheet {number}", words, (), "")


def found(questions, offers, *, most=3, salt="s"):
    nearest = Nearest(questions, salt=salt, most=most)
    for document, text in offers:
        nearest.offer(document, text, text)
    return [nearest.of(at) for at in range(len(questions))]


def test_the_likest_come_first_one_of_each_other_document():
    offers = [
        ("sheet 1", "The belt tension of its own sheet."),
        ("a", "The belt speed is 5."),
        ("a", "The belt tension is 5."),
        ("b", "The belt width is 7, and the tension 9, of line 4."),
        ("c", "The casing is brass."),
    ]
    (near,) = found([question(1, "What is the belt tension?")], offers)
    assert set(near[:2]) == {offers[2][1], offers[3][1]}
    assert near[2] == offers[4][1]


offers_ = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.lists(st.sampled_from(THINGS), min_size=1).map(" ".join)))


@given(offers_, st.randoms(use_true_random=False))
def test_neither_the_order_nor_repeats_nor_other_questions_matter(offers, lots):
    asked = [question(number, " ".join(THINGS[number : number + 3])) for number in range(5)]
    mixed = offers + offers[:3]
    lots.shuffle(mixed)
    assert found(asked, mixed) == found(asked, offers)
    assert found(asked[2:3], offers) == found(asked, offers)[2:3]


def test_a_thing_that_answers_two_questions_of_a_document_is_as_near_as_the_nearer_one():
    offers = [("a", "What is the colour of the belt?", "black"), ("a", "What is the weight of the label?", "black")]
    likeness = []
    for order in (offers, offers[::-1]):
        nearest = Nearest([question(1, "What is the weight of the label?")], salt="s", most=1)
        for offer in (*order, ("b", "How heavy is the label?", "red")):
            nearest.offer(*offer)
        likeness.append(nearest.of(0))
    assert likeness == [["black"], ["black"]]


def test_a_document_more_seldom_changes_what_is_nearest():
    """Beside n documents a new one takes one of k places with a chance of k / (n + 1)."""
    lots = random.Random(0)
    offers = [(f"d{number}", " ".join(lots.sample(THINGS, 3))) for number in range(220)]
    asked = [question(number, " ".join(lots.sample(THINGS, 2))) for number in range(200)]
    before, after = found(asked, offers[:200], most=4), found(asked, offers, most=4)
    places = sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))
    assert 0 < places < 2 * 200 * 4 * 20 / 220
