"""Which words the report marks: of a passage what the answer takes up, of the answer what nothing supports."""

from tasks.reporting.examples import passages, unsupported

CONTEXT = ["Pumpe P-1: Leistung 40 kW.", "Die Farbe steht im Angebot."]
REFUSAL = "Dazu steht im Blatt nichts."


def marked(pieces) -> list[str]:
    return [text for text, mark in pieces if mark]


def test_what_an_answer_claims_is_marked_in_the_passages_and_what_none_holds_in_the_answer():
    said = "P-1 hat 40 kW und 3 Stufen [1]."
    assert marked(unsupported(said, CONTEXT, "Was leistet P-1?", REFUSAL)) == ["hat", "und 3 Stufen"]
    first, second = passages(CONTEXT, said, REFUSAL, REFUSAL)
    assert (marked(first), marked(second)) == (["P", "1", "40 kW"], [])


def test_what_the_right_answer_takes_from_the_passages_and_this_one_does_not_is_marked_as_missed():
    first, second = passages(CONTEXT, "Die Pumpe.", "Die Leistung ist 40 kW.", REFUSAL)
    assert [piece for piece in first if piece[1]] == [("Pumpe", "used"), ("Leistung 40 kW", "missed")]


def test_the_fixed_refusal_sentence_claims_nothing_in_whatever_language_it_is():
    assert marked(unsupported(REFUSAL, CONTEXT, "Welche Farbe?", REFUSAL)) == []
    assert [marked(each) for each in passages(CONTEXT, REFUSAL, REFUSAL, REFUSAL)] == [[], []]
    assert marked(unsupported(REFUSAL, CONTEXT, "Welche Farbe?", None)) != []
