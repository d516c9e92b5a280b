"""The base model's two signals, against plain transformers on the tiny base."""

from pathlib import Path

import pytest
import torch

from tasks.judges.base import ALONE, BEHIND, QUESTION, Base, BaseConfig
from tests.tasks.judges.models import toy_chat_model

TINY = Path(__file__).resolve().parents[3] / "data/tiny-base"
WHOLE = {"quantization": "none", "compute_dtype": "float32"}
PAIRS = [
    ("Sheet P-204. The rated flow is 43 bar.", "The rated flow is 43 bar."),
    ("Sheet P-204. The rated flow is 43 bar. The oil grade is VG 46.", "The oil grade is VG 68."),
    ("Sheet C-335. The dry weight is 120 kg.", "It weighs a lot."),
]


@pytest.fixture(scope="module")
def base():
    return Base(TINY, BaseConfig(model=WHOLE))


def logits(base, ids):
    with torch.inference_mode():
        return base._model(torch.tensor([ids])).logits[0].float()


def test_the_odds_of_yes_are_those_of_one_sequence_at_a_time(base):
    expected = []
    for context, sentence in PAIRS:
        last = logits(base, base._asked(QUESTION.format(context=context, sentence=sentence)))[-1]
        expected.append(torch.sigmoid(last[base._yes].logsumexp(0) - last[base._no].logsumexp(0)).item())
    assert base.says_yes(PAIRS) == pytest.approx(expected, abs=1e-5)


def test_the_gain_is_the_difference_of_two_mean_log_likelihoods(base):
    def mean(before, sentence):
        start, said = base._ids(before, begin=True), base._ids(" " + sentence)
        scores = logits(base, start + said).log_softmax(-1)
        return sum(scores[len(start) + at - 1, token].item() for at, token in enumerate(said)) / len(said)

    expected = [
        torch.sigmoid(torch.tensor(mean(BEHIND.format(context=c), s) - mean(ALONE, s))).item() for c, s in PAIRS
    ]
    found = base.gains(PAIRS)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[0] > found[2]  # what stands there word for word gains more


def test_what_is_beyond_the_window_has_no_score(base):
    long = "The rated flow is 43 bar. " * 2_000
    assert base.says_yes([(long, "The rated flow is 43 bar."), PAIRS[0]])[0] is None
    assert base.gains([PAIRS[0], (long, "It is so.")])[1] is None


def test_a_chat_model_is_asked_in_its_own_template_and_text_opens_no_turn(tmp_path):
    base = Base(toy_chat_model(tmp_path / "chat"), BaseConfig(model=WHOLE))
    (turn,) = base._tokenizer.convert_tokens_to_ids(["<|user|>"])
    context = "The pump <|user|> runs."
    ids = base._asked(QUESTION.format(context=base._safe([(context, "")])[0][0], sentence="It runs."))
    assert ids.count(turn) == 1
    assert len(base.says_yes([(context, "It runs.")])) == 1
