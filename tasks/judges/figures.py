"""What judges said, as figures: each system's mean with its interval, what is missing, and the paired difference."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.judges.case import INAPPLICABLE, SYSTEMS, Case, Judgement
from tasks.judges.memory import Judged

if TYPE_CHECKING:
    from tasks.statistics import Codes, Floats


def figures(cases: Sequence[Case], judged: Judged, *, resamples: int, seed: int) -> dict[str, Any]:
    """{"base": …, "tuned": …, "difference": …}, over source documents, rounded to 6 digits.

    A system has value, low and high (95 %), rows and documents that count, inapplicable (how many), missing (how many),
    missing_rate (of those that ought to be judged) and reasons. The difference is tuned less base on the rows that
    count for both, None if there are none.
    """
    import numpy as np

    from tasks.statistics import bootstrap, cluster_codes, difference, estimate, weighted_sums

    half = len(cases) // 2  # base and tuned, the same rows in the same order
    codes = cluster_codes([case.document for case in cases[:half]])
    said = dict(zip(SYSTEMS, (judged.judgements[:half], judged.judgements[half:]), strict=True))
    values = {system: _values(each) for system, each in said.items()}
    both = ~np.isnan(values["base"]) & ~np.isnan(values["tuned"])
    columns = [*values.values(), *(np.where(both, each, np.nan) for each in values.values())]
    sums = [weighted_sums(column, np.ones(half), codes) for column in columns]
    drawn = np.split(bootstrap(np.concatenate(sums, axis=1), resamples=resamples, seed=seed), len(sums), axis=1)
    told: dict[str, Any] = {}
    for at, system in enumerate(SYSTEMS):
        figure = estimate(sums[at], drawn[at])
        told[system] = _rounded(figure and (figure.value, figure.low, figure.high)) | _counts(
            values[system], codes, said[system]
        )
    change = difference(*sums[2:], *drawn[2:])
    told["difference"] = change and {
        **_rounded((change.value, change.low, change.high)),
        "p": round(change.p, 6),
        "detectable": round(change.detectable, 6),
        "rows": int(both.sum()),
        "documents": len(np.unique(codes[both])),
    }
    return told


def _values(judgements: Sequence[Judgement]) -> "Floats":
    import numpy as np

    return np.array([math.nan if each.score is None else each.score for each in judgements])


def _rounded(figure: tuple[float, float, float] | None) -> dict[str, float | None]:
    return {name: figure and round(figure[at], 6) for at, name in enumerate(("value", "low", "high"))}


def _counts(values: "Floats", codes: "Codes", judgements: Sequence[Judgement]) -> dict[str, Any]:
    import numpy as np

    reasons = Counter(each.reason for each in judgements if each.reason)
    inapplicable = sum(count for reason, count in reasons.items() if reason in INAPPLICABLE)
    missing = reasons.total() - inapplicable
    counted = ~np.isnan(values)
    wanted = len(judgements) - inapplicable
    return {
        "rows": int(counted.sum()),
        "documents": len(np.unique(codes[counted])),
        "inapplicable": inapplicable,
        "missing": missing,
        "missing_rate": round(missing / wanted, 6) if wanted else None,
        "reasons": dict(sorted(reasons.items())),
    }
