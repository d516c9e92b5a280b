"""What a validation found, counted with flat memory."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks.rules.table import REMEDIES, Finding, Rules, limits
from tasks.triplets import Triplet

EXAMPLES = 3  # per rule and level
PERCENTILES = (5, 25, 50, 75, 95, 99)
MOST_NAMES = 50  # of unused fields: rows may use keys as data


class Tally:
    """Counts rows, findings by rule with a few examples, and lengths."""

    def __init__(self) -> None:
        self.read = self.clean = self.rejected = self.duplicates = self.warned = self.refusals = 0
        self.forms: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self.by_rule: dict[str, Counter[str]] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}
        self.context_chars: Counter[int] = Counter()
        self.answer_chars: Counter[int] = Counter()  # of answers; refusals are all alike

    def keep(self, row: Triplet, findings: Sequence[Finding], where: tuple[str, int]) -> None:
        self.clean += 1
        self.warned += bool(findings)
        for finding in findings:
            self._count(finding, where, row.query)
        self.context_chars[sum(map(len, row.context))] += 1
        if row.refusal:
            self.refusals += 1
        else:
            self.answer_chars[len(row.answer)] += 1

    def reject(self, row: Triplet | None, finding: Finding, where: tuple[str, int]) -> None:
        """A row counts under the one finding that it was rejected for."""
        if finding.rule == "duplicate":
            self.duplicates += 1
        else:
            self.rejected += 1
        self._count(finding, where, row.query if row else "")

    def meet(self, form: str, unused: frozenset[str]) -> None:
        self.forms[form] += 1
        for field in unused:
            if field in self.unused or len(self.unused) < MOST_NAMES:
                self.unused[field] += 1

    def _count(self, finding: Finding, where: tuple[str, int], query: str) -> None:
        counts = self.by_rule.setdefault(finding.rule, Counter())
        counts[finding.level] += 1
        if counts[finding.level] <= EXAMPLES:
            file, line = where
            example = {"file": file, "line": line, "level": finding.level, "value": finding.value, "query": query}
            self.examples.setdefault(finding.rule, []).append(example | {"remedy": finding.remedy})

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
                    "examples": self.examples[rule],
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
