"""A validation's report for people: a page of Markdown, and the lines of an error."""

from typing import Any

from tasks.data.rules.table import judged

Summary = dict[str, Any]  # Tally.summary()


def markdown(summary: Summary) -> str:
    """The report as a page: what was read, what each rule found, with examples, and how long texts are."""
    rows = summary["rows"]
    parts = [
        "# Validation",
        f"**{rows['clean']:,} of {rows['read']:,} rows are fit to learn from**: {rows['rejected']:,} rejected "
        f"({summary['reject_share']:.1%}), {rows['duplicates']:,} duplicates dropped, {rows['warned']:,} kept with a "
        f"warning. {summary['refusals']['rows']:,} are refusals"
        + (f" ({summary['refusals']['share']:.1%} of the clean rows)." if rows["clean"] else "."),
        "Forms: " + (", ".join(f"{form} {count:,}" for form, count in summary["forms"].items()) or "none") + ".",
    ]
    if summary["unused_fields"]:
        unused = ", ".join(f"`{field}` ({count:,} rows)" for field, count in sorted(summary["unused_fields"].items()))
        parts.append(f"Fields that nothing reads: {unused}.")
    if rules := summary["rules"]:
        found = [(rule, c["rejected"], c["warned"], _judged(rule, c["limits"])) for rule, c in rules.items()]
        parts.append(_table(["rule", "rejected", "warned", "what it judges"], found))
    parts.append("## Lengths in characters")
    if lengths := {name: counts for name, counts in summary["lengths"].items() if counts}:
        header = list(next(iter(lengths.values())))
        parts.append(_table(["", *header], [(name, *counts.values()) for name, counts in lengths.items()]))
    for rule, counts in rules.items():
        examples = "\n".join(_example(example, counts["remedy"]) for example in counts["examples"])
        parts.append(f"## {rule}\n\nRemedy: {counts['remedy']}.\n\n{examples}")
    return "\n\n".join(parts) + "\n"


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


def _judged(rule: str, limits: dict[str, float]) -> str:
    given = ", ".join(f"{name.replace('_', ' ')} {limit:,}" for name, limit in limits.items())
    return judged(rule) + (f" ({given})" if given else "")


def _example(example: dict[str, Any], remedy: str) -> str:
    kind = "rejected" if example["level"] == "reject" else "warned"
    quotes = [_code(str(quote)) for quote in (example["value"], example["query"]) if quote != ""]
    own = f"; {example['remedy']}" if example["remedy"] != remedy else ""
    return f"- `{example['file']}:{example['line']}` {kind}: {' · '.join(quotes)}{own}"


def _code(text: str) -> str:
    """Text of a row, quoted so that Markdown leaves it alone."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= 120 else flat[:119] + "…"
    return f"`` {flat} ``" if "`" in flat else f"`{flat}`"


def _table(header: list[str], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) + " |" for row in rows]
    return "\n".join(lines)
