"""How far a judge of support can be trusted: its agreement with answers whose support is known.

The answers are those of `labelled.yaml`: 72 that their contexts support, and 24 for each of six ways to fail. No two
judges' scores are compared, only how well each tells the two kinds apart.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from tasks.judges.cases import Case, Judgement, lexical
from tasks.text import ContextView, claims

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Floats

LABELLED = "tasks/judges/labelled.yaml"  # from the project's root
RESAMPLES = 2_000
PASS = 0.05  # of the supported answers: the share that a judge may take for unsupported at its cut

Stratum = Literal["unrelated", "missing", "stitched", "plausible", "swapped", "negated"]
STRATA: tuple[Stratum, ...] = get_args(Stratum)


class Sees(BaseModel):
    """How well a judge tells one kind of unsupported answers from the supported ones."""

    model_config = ConfigDict(frozen=True)

    stratum: Stratum
    rows: int
    auroc: float  # .5: not at all
    caught: float  # share under the cut that `false_alarms` of the supported answers fall under, too


class Agreement(BaseModel):
    """How well a judge tells unsupported answers from supported ones."""

    model_config = ConfigDict(frozen=True)

    judge: str
    rows: int  # that the judge gave a score for, of 216
    auroc: float  # the chance that a supported answer scores higher than an unsupported one
    low: float  # 95 % interval over the contexts
    high: float
    cut: float  # the score under which an answer is taken for unsupported
    false_alarms: float  # share of the supported answers under the cut
    strata: tuple[Sees, ...]

    def sees(self, stratum: Stratum) -> bool:
        """Whether it tells this kind better than three times in four."""
        return any(each.stratum == stratum and each.auroc >= 0.75 for each in self.strata)


@cache
def _entries() -> list[dict[str, Any]]:
    import yaml

    entries: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / LABELLED).read_text("utf-8"))
    return entries


@cache
def labelled() -> tuple[tuple[Case, ...], tuple[Stratum | None, ...]]:
    """The answers as cases, each context a document; and of each how it fails, None if it is supported."""
    cases: list[Case] = []
    strata: list[Stratum | None] = []
    for number, entry in enumerate(_entries()):
        context = tuple(entry["context"])
        view = ContextView(context)
        known: list[tuple[Stratum | None, str]] = [(None, answer) for answer in entry["supported"]]
        known += [(stratum, entry["unsupported"][stratum]) for stratum in STRATA]
        for stratum, answer in known:
            strata.append(stratum)
            cases.append(
                Case(
                    id=f"{number}-{len(cases)}",
                    document=str(number),
                    system="base",
                    question=str(entry["query"]),
                    context=context,
                    answer=answer,
                    reference=None,
                    refused=False,
                    claims=tuple(claims(answer, None, view)) or (answer,),
                    sentences=(answer,),
                )
            )
    return tuple(cases), tuple(strata)


def agreement(judge: str, judgements: Sequence[Judgement]) -> Agreement | None:
    """The agreement of a judge that gave `judgements` to the cases of `labelled`; None if it scored only one kind."""
    import numpy as np

    cases, strata = labelled()
    scored = [at for at, each in enumerate(judgements) if each.score is not None]
    scores = np.array([judgements[at].score for at in scored], dtype=float)
    kinds = [strata[at] for at in scored]
    supported = np.array([kind is None for kind in kinds], dtype=bool)
    if supported.all() or not supported.any():
        return None
    drawn = _over_contexts([cases[at].document for at in scored], lambda rows: auroc(scores[rows], supported[rows]))
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    cut = float(np.quantile(scores[supported], PASS))
    sees = []
    for stratum in STRATA:
        of = np.array([kind == stratum for kind in kinds], dtype=bool)
        if of.any():
            both = of | supported
            found = {"auroc": auroc(scores[both], supported[both]), "caught": float((scores[of] < cut).mean())}
            sees.append(
                Sees(stratum=stratum, rows=int(of.sum()), **{name: round(each, 4) for name, each in found.items()})
            )
    return Agreement(
        judge=judge,
        rows=len(scored),
        auroc=round(auroc(scores, supported), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        cut=round(cut, 6),
        false_alarms=round(float((scores[supported] < cut).mean()), 4),
        strata=tuple(sees),
    )


@cache
def of_lexical() -> Agreement | None:
    """The agreement of the words alone, which is the same whatever is judged."""
    return agreement("lexical", lexical(labelled()[0]))


def better(one: Sequence[Judgement], other: Sequence[Judgement]) -> bool:
    """Whether one judge tells the labelled answers apart better than the other, beyond chance (95 %, over contexts)."""
    import numpy as np

    cases, strata = labelled()
    scored = [at for at in range(len(cases)) if one[at].score is not None and other[at].score is not None]
    supported = np.array([strata[at] is None for at in scored], dtype=bool)
    both = [np.array([each[at].score for at in scored], dtype=float) for each in (one, other)]
    drawn = _over_contexts(
        [cases[at].document for at in scored],
        lambda rows: auroc(both[0][rows], supported[rows]) - auroc(both[1][rows], supported[rows]),
    )
    return bool(len(scored) and np.nanquantile(drawn, 0.025) > 0)


def calibrated(
    known: Sequence[Sequence[Judgement]], new: Sequence[Sequence[Judgement]]
) -> tuple[list[Judgement], list[Judgement]]:
    """One probability of support from several signals, by a logistic regression on the labelled answers.

    `known` holds each signal's judgements of the labelled answers, `new` those of others. Returns the probabilities of
    the labelled ones, each from a fit without its own context, and of the new ones. None where a signal is missing.
    """
    import numpy as np

    cases, strata = labelled()
    features, judged = _columns(known), ~np.isnan(_columns(known)).any(1)
    supported = np.array([stratum is None for stratum in strata], dtype=float)
    documents = np.array([case.document for case in cases])
    held_out = np.full(len(cases), np.nan)
    for document in dict.fromkeys(documents):
        mine = documents == document
        fitted = _fit(features[judged & ~mine], supported[judged & ~mine])
        held_out[mine] = fitted(features[mine])
    probabilities = _fit(features[judged], supported[judged])(_columns(new))
    return _judgements(held_out, known[0]), _judgements(probabilities, new[0])


def _columns(signals: Sequence[Sequence[Judgement]]) -> "Floats":
    """(cases, signals) as log odds; NaN where there is no score."""
    import numpy as np

    scores = np.array([[np.nan if j.score is None else j.score for j in each] for each in signals], dtype=float).T
    clipped = scores.clip(1e-6, 1 - 1e-6)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds


def _fit(features: "Floats", supported: "Floats") -> "Callable[[Floats], Floats]":
    """A logistic regression with a small ridge, both kinds weighted alike."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    mean, scale = features.mean(0), features.std(0) + 1e-9
    ready = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    weight = np.where(supported == 1, 0.5 / supported.sum(), 0.5 / (1 - supported).sum())
    signs = 2 * supported - 1

    def loss(at: "Floats") -> float:
        return float(-(weight * log_expit(signs * (ready @ at))).sum() + 0.005 * (at[1:] ** 2).sum())

    best = minimize(loss, np.zeros(ready.shape[1]), method="BFGS").x

    def probability(given: "Floats") -> "Floats":
        found: Floats = expit(np.column_stack([np.ones(len(given)), (given - mean) / scale]) @ best)
        return found

    return probability


def _judgements(probabilities: "Floats", of: Sequence[Judgement]) -> list[Judgement]:
    """Probabilities as judgements; where a signal had no score, its reason."""
    return [
        each if each.score is None else Judgement(None, "too long") if p != p else Judgement(round(float(p), 6))
        for p, each in zip(probabilities, of, strict=True)
    ]


def auroc(scores: "Floats", positive: "Floats") -> float:
    """The chance that a positive scores higher than a negative, ties counted half; NaN without both."""
    import numpy as np
    from scipy.stats import rankdata

    count = int(positive.sum())
    if not 0 < count < len(scores):
        return float("nan")
    ranks = rankdata(scores)[positive].sum() - count * (count + 1) / 2
    return float(np.divide(ranks, count * (len(scores) - count)))


def _over_contexts(documents: Sequence[str], measure: "Callable[[Floats], float]") -> "Floats":
    """`measure` of the rows of contexts drawn with replacement, `RESAMPLES` times."""
    import numpy as np

    rows: Mapping[str, list[int]] = {name: [] for name in documents}
    for at, name in enumerate(documents):
        rows[name].append(at)
    groups = [np.array(each) for each in rows.values()]
    random = np.random.default_rng(0)
    draws = random.integers(0, len(groups), (RESAMPLES, len(groups)))
    drawn: Floats = np.array([measure(np.concatenate([groups[at] for at in draw])) for draw in draws])
    return drawn
