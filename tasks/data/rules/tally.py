"""What a validation found, added up over shards."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tasks.data.rules.shard import EXAMPLES
from tasks.data.rules.table import REMEDIES, Finding, Rules, limits

if TYPE_CHECKING:
    import numpy as np

PERCENTILES = (5, 25, 50, 75, 95, 99)
MOST_NAMES = 50  # of unused fields: rows may use keys as data


class Tally:
    """Counts rows, findings by rule with a few examples, and lengths.

    A rule's warnings are counted over all rows that pass their own rules, repeated ones included.
    """

    def __init__(self) -> None:
        self.read = self.clean = self.rejected = self.duplicates = self.warned = self.refusals = 0
        self.forms: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self.by_rule: dict[str, Counter[str]] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}
        self.context_chars: Counter[int] = Counter()
        self.answer_chars: Counter[int] = Counter()  # of answers; refusals are all alike

    def shard(self, facts: dict[str, Any], places: list[tuple[str, int]]) -> None:
        """Add a shard's facts; `places` gives the file and line of the rows that its examples number."""
        self.read += facts["read"]
        self.forms.update(facts["forms"])
        for field, count in facts["unused"].items():
            if field in self.unused or len(self.unused) < MOST_NAMES:
                self.unused[field] += count
        at = iter(places)
        for rule, counts in facts["found"].items():
            self.rejected += counts["reject"]
            self.by_rule.setdefault(rule, Counter()).update(reject=counts["reject"], warn=counts["warn"])
            for example in counts["examples"]:
                self._example(rule, example, next(at))

    def kept(self, sketch: "np.ndarray") -> None:
        """Add the rows that stay, as their sketch has them."""
        import numpy as np

        self.clean += len(sketch)
        self.warned += int(sketch["warned"].sum())
        self.refusals += int(sketch["refusal"].sum())
        for counter, lengths in (
            (self.context_chars, sketch["context_chars"]),
            (self.answer_chars, sketch["answer_chars"][~sketch["refusal"]]),
        ):
            values, counts = np.unique(lengths, return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def across(self, finding: Finding, query: str, place: tuple[str, int]) -> None:
        """Add what a rule across rows found in a row."""
        if finding.level == "reject":
            self.duplicates += finding.rule == "duplicate"
            self.rejected += finding.rule != "duplicate"
        self.by_rule.setdefault(finding.rule, Counter())[finding.level] += 1
        example = {"level": finding.level, "value": finding.value, "query": query, "remedy": finding.remedy}
        self._example(finding.rule, example, place)

    def _example(self, rule: str, example: dict[str, Any], place: tuple[str, int]) -> None:
        told = self.examples.setdefault(rule, [])
        if sum(each["level"] == example["level"] for each in told) < EXAMPLES:
            file, line = place
            told.append({"file": file, "line": line} | {k: v for k, v in example.items() if k != "number"})

    @property
    def reject_share(self) -> float:
        """Rejected rows over all rows read; a dropped duplicate loses nothing and is no reject."""
        return self.rejected / self.read if self.read else 0.0

    def summary(self, rules: Rules) -> dict[str, Any]:
        """The report as JSON: counts of rows, shares of 1, lengths in characters."""
        return {
            "rows": {
                "read": self.read,
                "clean": self.clean,
                "rejected": self.rejected,
                "duplicates": self.duplicates,
                "warned": self.warned,
            },
            "reject_share": round(self.reject_share, 4),
            "refusals": {"rows": self.refusals, "share": round(self.refusals / self.clean, 4) if self.clean else None},
            "forms": dict(self.forms),
            "rules": {
                rule: {
                    "rejected": self.by_rule[rule]["reject"],
                    "warned": self.by_rule[rule]["warn"],
                    "limits": limits(rules, rule),
                    "remedy": REMEDIES[rule],
                    "examples": self.examples.get(rule, []),
                }
                for rule in REMEDIES
                if rule in self.by_rule
            },
            "lengths": {
                "context": percentiles(self.context_chars),
                "answer": percentiles(self.answer_chars),
            },
            "unused_fields": dict(self.unused),
        }


def percentiles(counts: Counter[int]) -> dict[str, int]:
    """Minimum, percentiles by nearest rank, and maximum of counted whole numbers; empty for none."""
    if not counts:
        return {}
    values = sorted(counts)
    found = {"min": values[0]}
    passed, remaining = 0, list(PERCENTILES)
    for value in values:
        passed += counts[value]
        while remaining and 100 * passed >= remaining[0] * counts.total():
            found[f"p{remaining.pop(0)}"] = value
    return found | {"max": values[-1]}
