"""The numbers beside the comparison: abstention, the training, how far each check of support can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tasks.evaluation.metrics.abstention import baselines
from tasks.judges.agreement import Agreement, of_lexical

ABSTENTION = ("abstention_f1", "abstention_recall", "abstention_precision", "over_refusal")
COST = (  # as a training's record may have it
    *("train_seconds", "tokens_per_second", "computed_tokens_per_second", "mfu"),
    *("peak_mib", "predicted_mib", "watts", "gpu_seconds"),
)


def abstention(comparisons: Sequence[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """The abstention metrics of base and tuned, and of two systems that always and never refuse.

    `share` is the share of unanswerable questions.
    """
    metrics = {each["name"]: each for each in comparisons}
    systems = {which: {name: metrics[name][which]["value"] for name in ABSTENTION} for which in ("base", "tuned")}
    return [{"name": name.replace("_", " "), **values} for name, values in (systems | baselines(share)).items()]


def layers(judged: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Each check of support: how well it tells answers apart whose support is known, by the kind of failure;
    and `path`, where the report has its figures of base and tuned. The lexical one comes first.

    `judged` is judge.json, None where no judge is on.
    """
    judges = {"lexical": ("Words (lexical)", "comparisons.base.faithfulness")}
    for at, each in enumerate(judged["judges"] if judged else ()):
        judges[each["judge"]] = each["label"], f"judge.judges.{at}"
    found = map(Agreement.model_validate, judged["agreement"]) if judged else filter(None, [of_lexical()])
    return [
        {
            **{"name": each.judge, "label": judges[each.judge][0], "path": judges[each.judge][1]},
            **each.model_dump(include={"rows", "auroc", "low", "high", "false_alarms"}),
            "strata": [
                {"name": one.stratum, "auroc": one.auroc, "caught": one.caught, "seen": each.sees(one.stratum)}
                for one in each.strata
            ],
        }
        for each in found
    ]


def read_training(folder: Path | None) -> dict[str, Any]:
    """`loss` and `held_out`, lists of [step, loss], `summary`, the training report, and `cost`; empty where files lack.

    The cost is measured on this one training: another one of the same recipe costs something else.
    """
    if folder is None:
        return {"loss": [], "held_out": [], "summary": {}, "cost": {}}
    metrics, summary, record = folder / "metrics.jsonl", folder / "report.json", folder / "record.json"
    logged = [orjson.loads(line) for line in metrics.read_bytes().splitlines()] if metrics.exists() else []
    measured = orjson.loads(record.read_bytes()).get("measured", {}) if record.exists() else {}
    return {
        "loss": _curve(logged, "loss"),
        "held_out": _curve(logged, "eval_loss"),
        "summary": orjson.loads(summary.read_bytes()) if summary.exists() else {},
        "cost": {name: measured[name] for name in COST if name in measured},
    }


def _curve(logged: list[dict[str, Any]], name: str) -> list[list[float]]:
    return [[line["step"], round(line[name], 6)] for line in logged if line.get(name) is not None]
