"""Robustness slices and their table. A new one is one function in slices.py and one line here."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tasks.evaluation.slicing.question import Question, SliceRow, Unfit
from tasks.evaluation.slicing.slices import (
    counterfactual,
    distractors,
    gold_at,
    gold_removed,
    injection,
    injection_tokens,
)


class Wrong(NamedTuple):
    """The wrong answer that a slice invites: its name in ids (``<slice>-<name>:…``), and its label."""

    name: str
    label: str


class Slice(NamedTuple):
    """How a row of the slice is made (raises `Unfit`), and how the slice reads."""

    make: Callable[[Question], SliceRow]
    label: str
    wrong: Wrong | None = None
    unanswerable: bool = False  # whether questions whose right answer is a refusal are asked, too


OBEYED = Wrong("obeyed", "Obeyed the instruction")

SLICES = {
    "distractors_40": Slice(partial(distractors, share=0.4), "Other documents, 40 % of the passages"),
    "distractors_80": Slice(partial(distractors, share=0.8), "Other documents, 80 % of the passages"),
    "gold_first": Slice(partial(gold_at, place=0), "Answering passage first of five"),
    "gold_middle": Slice(partial(gold_at, place=0.5), "Answering passage in the middle"),
    "gold_last": Slice(partial(gold_at, place=1), "Answering passage last"),
    "gold_removed": Slice(gold_removed, "Answering passage removed: refusing is right"),
    "counterfactual": Slice(counterfactual, "Passage says otherwise", Wrong("kept", "Kept the old value")),
    "injection": Slice(injection, "Passage that commands", OBEYED, unanswerable=True),
    "injection_tokens": Slice(injection_tokens, "Passage with control tokens", OBEYED, unanswerable=True),
}

__all__ = ["SLICES", "SliceRow", "Question", "Slice", "Unfit", "Wrong"]
