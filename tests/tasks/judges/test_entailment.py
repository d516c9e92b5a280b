"""Entailment by classifiers made from a config: parts of long contexts, batches, labels."""

import pytest
import torch

from tasks.engine.errors import UserError
from tasks.judges.cases import Case
from tasks.judges.entailment import Entailment, EntailmentConfig, faithfulness
from tests.tasks.judges.models import WORDS, toy_classifier

NLI = ["contradiction", "neutral", "entailment"]


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return toy_classifier(tmp_path_factory.mktemp("nli") / "model", NLI)


def case(context, *claims, refused=False):
    return Case("1", "d", "base", "what ?", (context,), " ".join(claims), None, refused, claims)


def probability(entails, context, sentence, label=2):
    """What the model says of one pair, by transformers alone."""
    tokenizer, model, window = entails._loaded
    given = tokenizer(context, sentence, return_tensors="pt")
    assert given["input_ids"].shape[1] <= window
    with torch.inference_mode():
        logits = model(**given).logits[0]
    return float(logits.sigmoid()[0] if len(logits) == 1 else logits.softmax(0)[label])


PAIRS = [
    ("the pump runs at 16 bar .", "the pump runs ."),
    ("the valve is made of steel .", "the valve is not made of steel ."),
    ("the pump runs at 40 bar . the valve is made of steel .", "40 bar ."),
]


def test_a_pair_that_fits_scores_what_the_model_says_of_it(nli):
    entails = Entailment(nli, EntailmentConfig())
    assert entails(PAIRS) == pytest.approx([probability(entails, *pair) for pair in PAIRS], abs=1e-5)
    assert len({round(score, 3) for score in entails(PAIRS)}) == 3


def test_the_batch_size_changes_nothing(nli):
    one, many = (Entailment(nli, EntailmentConfig(batch_size=size))(PAIRS) for size in (1, 32))
    assert one == pytest.approx(many, abs=1e-5)


def test_a_long_context_is_read_in_overlapping_parts_and_the_best_part_counts(nli):
    entails = Entailment(nli, EntailmentConfig(window=16, overlap=4))
    words = [WORDS[n % len(WORDS)] for n in range(40)]
    sentence = "the pump runs"  # 3 tokens and 3 special ones leave 10 for the context: parts start every 6 words
    parts = [" ".join(words[start : start + 10]) for start in range(0, 36, 6)]
    expected = [probability(entails, part, sentence) for part in parts]
    assert entails([(" ".join(words), sentence)])[0] == pytest.approx(max(expected), rel=1e-3)
    assert sorted(expected)[-1] > 1.5 * sorted(expected)[-2]


def test_a_long_context_fits_a_model_that_counts_positions_from_behind_the_padding(tmp_path):
    folder = toy_classifier(tmp_path / "roberta", NLI, positions=33, family="Roberta")
    entails = Entailment(folder, EntailmentConfig(overlap=8))
    assert entails._loaded.window == 32  # with 33, the last position would not be there
    long, short = entails([("the pump runs at 16 bar . " * 20, "the pump runs ."), ("steel", "the pump runs .")])
    assert 0 < short < 1
    assert 0 < long < 1


def test_what_stands_at_the_end_of_a_long_context_is_seen(nli):
    entails = Entailment(nli, EntailmentConfig(window=24, overlap=8))
    start, end = "the valve is made of steel . " * 10, "the pump runs at 16 bar ."
    cut = entails([(start, end)])[0]
    assert entails([(start + end, end)])[0] >= cut
    assert entails([(start + end, end)])[0] != pytest.approx(cut, abs=1e-4)


def test_a_sentence_that_fills_half_the_window_is_missing_and_not_zero(nli):
    entails = Entailment(nli, EntailmentConfig(window=16))
    long = "the pump runs at 40 bar is not steel ."
    assert entails([("steel", long), ("steel", "the pump")])[0] is None
    assert [(said.score is None, said.reason) for said in faithfulness(entails, "min", [case("steel", long)])] == [
        (True, "too long")
    ]


def test_an_answer_scores_its_worst_sentence_or_their_mean(nli):
    entails = Entailment(nli, EntailmentConfig())
    context, claims = PAIRS[2][0], ("the pump runs .", "40 bar .", "the valve is not steel .")
    each = entails([(context, claim) for claim in claims])
    worst, mean = (faithfulness(entails, how, [case(context, *claims)])[0].score for how in ("min", "mean"))
    assert worst == pytest.approx(min(each), abs=1e-5)
    assert mean == pytest.approx(sum(each) / 3, abs=1e-5)
    assert worst < mean


def test_cases_keep_their_order_and_those_without_a_claim_have_a_reason(nli):
    entails = Entailment(nli, EntailmentConfig())
    cases = [case(PAIRS[0][0], PAIRS[0][1]), case("steel", refused=True), case("steel"), case(*PAIRS[1])]
    said = faithfulness(entails, "min", cases)
    assert [each.reason for each in said] == [None, "refusal", "no claim", None]
    assert [said[0].score, said[3].score] == pytest.approx(entails(PAIRS[:2]), abs=1e-5)


def test_the_label_that_means_entailed_is_found_wherever_it_stands(tmp_path):
    folder = toy_classifier(tmp_path / "model", ["ENTAILMENT", "NEUTRAL", "CONTRADICTION"])
    entails = Entailment(folder, EntailmentConfig())
    assert entails(PAIRS) == pytest.approx([probability(entails, *pair, label=0) for pair in PAIRS], abs=1e-5)


def test_a_single_score_is_a_probability_by_the_sigmoid(tmp_path):
    entails = Entailment(toy_classifier(tmp_path / "hhem", ["consistent"]), EntailmentConfig())
    assert entails(PAIRS) == pytest.approx([probability(entails, *pair) for pair in PAIRS], abs=1e-5)


def test_labels_without_a_meaning_are_refused_until_one_is_named(tmp_path):
    folder = toy_classifier(tmp_path / "model", ["LABEL_0", "LABEL_1"])
    with pytest.raises(UserError, match="They are 0 LABEL_0, 1 LABEL_1") as error:
        Entailment(folder, EntailmentConfig())
    assert "judge.entailment.label" in error.value.remedy
    entails = Entailment(folder, EntailmentConfig(label="1"))
    assert entails(PAIRS) == pytest.approx([probability(entails, *pair, label=1) for pair in PAIRS], abs=1e-5)
    assert entails(PAIRS) == Entailment(folder, EntailmentConfig(label="label_1"))(PAIRS)


def test_a_model_that_is_no_classifier_is_refused(tmp_path):
    from transformers import AutoModel

    folder = toy_classifier(tmp_path / "model", NLI)
    AutoModel.from_pretrained(folder).save_pretrained(folder)  # without the classifier's weights
    with pytest.raises(UserError, match="weights are not in its files, such as classifier.bias"):
        Entailment(folder, EntailmentConfig(label="0"))
