"""Which words the report marks: of a passage what the answer takes up, of the answer what nothing supports."""

from tasks.reporting.examples import supporting, unsupported

CONTEXT = ["Pumpe P-1: Leistung 40 kW.", "Die Farbe steht im Angebot."]
REFUSAL = "Dazu steht im Blatt nichts."


def marked(pieces) -> list[str]:
    return [text for text, mark in pieces if mark]


def test_what_an_answer_claims_is_marked_in_the_passages_and_what_none_holds_in_the_answer():
    said = "P-1 hat 40 kW und 3 Stufen [1]."
    assert marked(unsupported(said, CONTEXT, "Was leistet P-1?", REFUSAL)) == ["hat", "und 3 Stufen"]
    first, second = supporting(CONTEXT, said, REFUSAL)
    assert (marked(first), marked(second)) == (["P", "1", "40 kW"], [])


def test_the_fixed_refusal_sentence_claims_nothing_in_whatever_language_it_is():
    assert marked(unsupported(REFUSAL, CONTEXT, "Welche Farbe?", REFUSAL)) == []
    assert [marked(each) for each in supporting(CONTEXT, REFUSAL, REFUSAL)] == [[], []]
    assert marked(unsupported(REFUSAL, CONTEXT, "Welche Farbe?", None)) != []
