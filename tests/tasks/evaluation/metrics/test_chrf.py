"""chrF against its reference, sacreBLEU."""

from hypothesis import example, given
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from tasks.evaluation.metrics.overlap import chrf, chrf_of, texts
from tasks.evaluation.metrics.row import Row
from tasks.text import ContextView
from tests.tasks.evaluation.metrics.grounded import GROUNDED

REFERENCE = CHRF()
TEXTS = st.one_of(st.text(max_size=40), st.text(alphabet="ab c.é", max_size=40))


def measured(answer: str, reference: str) -> float | None:
    return chrf(Row(query="", context=ContextView([]), answer=answer, reference=reference))


def expected(answer: str, reference: str) -> float:
    return REFERENCE.sentence_score(answer, [reference]).score / 100


@given(TEXTS, TEXTS.filter(bool))
@example("16 bar", "The pressure is 16 bar.")
@example("", "x")
@example("a", "a")
@example("日本語のテキスト", "日本語 テスト 😀")
def test_chrf_is_what_sacrebleu_computes(answer: str, reference: str) -> None:
    found = measured(answer, reference)
    assert found is None or abs(found - expected(answer, reference)) < 1e-6


def test_chrf_of_whole_answers_is_what_sacrebleu_computes() -> None:
    for one in GROUNDED:
        for other in GROUNDED:
            assert abs((measured(one.answer, other.answer) or 0) - expected(one.answer, other.answer)) < 1e-6


def test_answers_measured_together_get_what_each_gets_alone() -> None:
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 1_500)))  # more than a key has bits for
    said = [
        "",
        "16 bar",
        "a\0b",
        "日本語のテキスト 😀",
        "x" * 40,
        letters,
        letters[700:],
        *(one.answer for one in GROUNDED),
    ]
    pairs = [(answer, reference) for answer in said for reference in said if reference]
    rows = [Row(query="", context=ContextView([]), answer=answer, reference=reference) for answer, reference in pairs]
    found = chrf_of([texts(row) for row in rows])
    assert found == [chrf(row) for row in rows]
    for (answer, reference), score in zip(pairs, found, strict=True):
        assert abs((score or 0) - expected(answer, reference)) < 1e-6
