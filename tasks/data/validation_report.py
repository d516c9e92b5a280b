"""What a validation found: added up over shards, as JSON, as a page of Markdown, and as the lines of an error."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.data.examine import EXAMPLES
from tasks.data.names import names
from tasks.data.pages import VALIDATION, render
from tasks.data.rules import RULES, Finding, Rules, description, limits
from tasks.text import language

if TYPE_CHECKING:
    import numpy as np

PERCENTILES = (5, 25, 50, 75, 95, 99)
MOST_NAMES = 50  # of unused fields: rows may use keys as data


class Tally:
    """Counts rows, findings by rule with a few examples, and lengths.

    A rule's warnings are counted over all rows that pass their own rules, repeated ones included.
    """

    def __init__(self) -> None:
        self.rows = Counter(read=0, clean=0, rejected=0, duplicates=0, warned=0)
        self.refusals = 0
        self.forms: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()
        self.by_rule: dict[str, Counter[str]] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}
        self.context_chars: list[np.ndarray] = []
        self.answer_chars: list[np.ndarray] = []  # without refusals, which are all the same

    def shard(self, facts: dict[str, Any], places: list[tuple[str, int]]) -> None:
        """Add a shard's facts; `places` gives the file and line of the rows that its examples number."""
        self.rows["read"] += facts["read"]
        self.forms.update(facts["forms"])
        self.languages.update(facts["languages"])
        for field, count in facts["unused"].items():
            if field in self.unused or len(self.unused) < MOST_NAMES:
                self.unused[field] += count
        at = iter(places)
        for rule, counts in facts["found"].items():
            self.rows["rejected"] += counts["reject"]
            self.by_rule.setdefault(rule, Counter()).update(reject=counts["reject"], warn=counts["warn"])
            for example in counts["examples"]:
                self._example(rule, example, next(at))

    def kept(self, sketch: "np.ndarray") -> None:
        """Add the rows that stay, as their sketch has them."""
        self.rows["clean"] += len(sketch)
        self.rows["warned"] += int(sketch["warned"].sum())
        self.refusals += int(sketch["refusal"].sum())
        self.context_chars.append(sketch["context_chars"].copy())  # a view would keep all fields
        self.answer_chars.append(sketch["answer_chars"][~sketch["refusal"]])

    def across(self, finding: Finding, query: str, place: tuple[str, int]) -> None:
        """Add what a rule across rows found in a row."""
        if finding.level == "reject":
            self.rows["duplicates" if finding.rule == "duplicate" else "rejected"] += 1
        self.by_rule.setdefault(finding.rule, Counter())[finding.level] += 1
        example = {"level": finding.level, "value": finding.value, "query": query, "remedy": finding.remedy}
        self._example(finding.rule, example, place)

    def _example(self, rule: str, example: dict[str, Any], place: tuple[str, int]) -> None:
        shown = self.examples.setdefault(rule, [])
        if sum(each["level"] == example["level"] for each in shown) < EXAMPLES:
            file, line = place
            shown.append({"file": file, "line": line} | {k: v for k, v in example.items() if k != "number"})

    @property
    def reject_share(self) -> float:
        """Rejected rows over all rows read; dropped duplicates do not count, because they lose nothing."""
        return self.rows["rejected"] / self.rows["read"] if self.rows["read"] else 0.0

    def summary(self, rules: Rules) -> dict[str, Any]:
        """The report as JSON: counts of rows, shares of 1, lengths in characters."""
        share = round(self.refusals / self.rows["clean"], 4) if self.rows["clean"] else None
        return {
            "rows": dict(self.rows),
            "reject_share": round(self.reject_share, 4),
            "refusals": {"rows": self.refusals, "share": share},
            "forms": dict(self.forms),
            "languages": {
                code: {"name": language(code).name, "rows": count, "validated": language(code).validated}
                for code, count in self.languages.most_common()
            },
            "rules": {
                rule: {
                    "rejected": self.by_rule[rule]["reject"],
                    "warned": self.by_rule[rule]["warn"],
                    "limits": limits(rules, rule),
                    "remedy": RULES[rule].remedy,
                    "examples": self.examples.get(rule, []),
                }
                for rule in RULES
                if rule in self.by_rule
            },
            "lengths": {"context": percentiles(self.context_chars), "answer": percentiles(self.answer_chars)},
            "unused_fields": dict(self.unused),
            "document_fields": [field for field in self.unused if field.casefold() in names().documents],
        }


def percentiles(lengths: Sequence["np.ndarray"]) -> dict[str, int]:
    """Minimum, percentiles by nearest rank, and maximum of the numbers in some arrays; empty for none."""
    import numpy as np

    values = np.sort(np.concatenate([np.zeros(0, np.uint32), *lengths]))
    if not values.size:
        return {}
    ranks = {f"p{each}": -(-each * values.size // 100) - 1 for each in PERCENTILES}
    return {name: int(values[rank]) for name, rank in {"min": 0, **ranks, "max": -1}.items()}


Summary = dict[str, Any]  # Tally.summary()


def markdown(summary: Summary) -> str:
    """The report as a page: what was read, what each rule found, with examples, and how long texts are."""
    return render(VALIDATION, summary, description=description)


def rejections(summary: Summary, most: int = 5) -> str:
    """The rules that rejected most rows, one example each, as lines of an error message."""
    rejecting = [(rule, c) for rule, c in summary["rules"].items() if c["rejected"] and rule != "duplicate"]
    lines = []
    for rule, counts in sorted(rejecting, key=lambda item: -item[1]["rejected"])[:most]:
        example = next(e for e in counts["examples"] if e["level"] == "reject")
        limit = counts["limits"].get("reject_below") or counts["limits"].get("reject_over")
        lines.append(
            f"  {counts['rejected']:>6,}  {rule}, such as {example['file']}:{example['line']}: {example['value']}"
            + (f" (limit {limit:,})" if limit else "")
            + f"\n          {example['remedy']}"
        )
    if len(rejecting) > most:
        lines.append(f"          and {len(rejecting) - most} other rules")
    return "\n".join(lines)
