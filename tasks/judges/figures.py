"""What judges said, as figures: each system's mean with its interval, what is missing, and the paired difference."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.judges.case import INAPPLICABLE, SYSTEMS, Case, Judgement
from tasks.judges.memory import Judged

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Codes, Estimate, Floats


def figures(cases: Sequence[Case], judged: Judged, *, resamples: int, seed: int) -> dict[str, Any]:
    """{"base": …, "tuned": …, "difference": …}, over source documents, rounded to 6 digits.

    A system has value, low and high (95 %), rows and documents that count, inapplicable (how many), missing (how many),
    missing_rate (of those that ought to be judged) and reasons. The difference is tuned less base on the rows that
    count for both, None if there are none.
    """
    import numpy as np

    from tasks.evaluation.statistics import bootstrap, cluster_codes, estimate, weighted_sums

    half = len(cases) // 2  # base and tuned, the same rows in the same order
    codes = cluster_codes([case.document for case in cases[:half]])
    said = dict(zip(SYSTEMS, (judged.judgements[:half], judged.judgements[half:]), strict=True))
    values = {system: _values(each) for system, each in said.items()}
    change = values["tuned"] - values["base"]  # NaN where one of them is
    sums = [weighted_sums(column, np.ones(half), codes) for column in (*values.values(), change)]
    drawn = np.split(bootstrap(np.concatenate(sums, axis=1), resamples=resamples, seed=seed), len(sums), axis=1)
    means = [_mean(estimate(*each)) for each in zip(sums, drawn, strict=True)]
    told: dict[str, Any] = {
        system: mean | _counted(values[system], codes) | _reasons(said[system])
        for system, mean in zip(SYSTEMS, means[:2], strict=True)
    }
    compared = means[2] | _counted(change, codes)
    return told | {"difference": compared if compared["rows"] else None}


def _values(judgements: Sequence[Judgement]) -> "Floats":
    import numpy as np

    return np.array([math.nan if each.score is None else each.score for each in judgements])


def _mean(figure: "Estimate | None") -> dict[str, float | None]:
    return {name: figure and round(getattr(figure, name), 6) for name in ("value", "low", "high")}


def _counted(values: "Floats", codes: "Codes") -> dict[str, int]:
    import numpy as np

    counted = ~np.isnan(values)
    return {"rows": int(counted.sum()), "documents": len(np.unique(codes[counted]))}


def _reasons(judgements: Sequence[Judgement]) -> dict[str, Any]:
    reasons = Counter(each.reason for each in judgements if each.reason)
    inapplicable = sum(count for reason, count in reasons.items() if reason in INAPPLICABLE)
    missing = reasons.total() - inapplicable
    wanted = len(judgements) - inapplicable
    return {
        "inapplicable": inapplicable,
        "missing": missing,
        "missing_rate": round(missing / wanted, 6) if wanted else None,
        "reasons": dict(sorted(reasons.items())),
    }
