"""Languages: rows that the rules reject, and how support tells what people call supported; of sets in a folder.

    python -m tests.bench.languages FOLDER

FOLDER holds xquad-CODE*.jsonl (id, document "article-paragraph", query, context, answer) and memerag*.jsonl (lang,
query, context, sentence, supported). Gold: the paragraph's own sentence around the answer, whole and as the span is.
Wrong: the same sentence with another paragraph of the article. The table of 2026-11-30 is in tasks/README.md.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import rankdata

from tasks.data.examine import RowConfig, examine
from tasks.data.rules import Rules
from tasks.evaluation.metrics.grounding import sentence_support
from tasks.text import ContextView, detect, sentences

CONFIG = RowConfig(Rules(), None, "refuse")


def rows(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.open(encoding="utf-8"))


def verdict(row: dict[str, Any]) -> tuple[str, bool]:
    found = examine(json.dumps(row).encode(), CONFIG)
    fits = [each.rule for each in found.findings if each.rule != "encoding"]
    return "rejected" if found.reason else "warned" if fits else "", any(f.rule == "encoding" for f in found.findings)


def xquad(path: Path) -> dict[str, float]:
    answered = [row for row in rows(path) if row["answer"]]
    paragraphs: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for row in answered:
        paragraphs[row["document"].rpartition("-")[0]][row["document"]] = row["context"]
    counts: Counter[str] = Counter()
    for row in answered:
        article = paragraphs[row["document"].rpartition("-")[0]]
        code = detect(row["context"][0], row["query"])
        counts["told"] += code == path.stem.split("-")[1]
        said = [each for each in sentences(row["context"][0], code) if row["answer"] in each]
        full = said[0] if said else row["answer"]
        for name, given in (("gold spans", row), ("gold sentences", row | {"answer": full})):
            judged, encoding = verdict(given)
            counts[f"{name} rejected"] += judged == "rejected"
            counts["encoding"] += encoding
            counts[name] += 1
        others = [context for name, context in sorted(article.items()) if name != row["document"]]
        if others and said:
            counts["wrong"] += 1
            counts["wrong caught"] += bool(verdict(row | {"answer": full, "context": others[0]})[0])
    return {
        "rows": counts["gold spans"],
        "language told": counts["told"] / counts["gold spans"],
        "gold spans rejected": counts["gold spans rejected"] / counts["gold spans"],
        "gold sentences rejected": counts["gold sentences rejected"] / counts["gold sentences"],
        "wrong caught": counts["wrong caught"] / max(1, counts["wrong"]),
        "encoding warnings": counts["encoding"],
    }


def auroc(scores: list[float], labels: list[bool]) -> float:
    """Area under the ROC curve, from ranks (Mann-Whitney)."""
    ranks, positive = rankdata(scores), sum(labels)
    total = sum(rank for rank, label in zip(ranks, labels, strict=True) if label)
    return float((total - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def memerag(path: Path) -> dict[str, dict[str, float]]:
    scores: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    foreign: Counter[str] = Counter()
    for row in rows(path):
        view = ContextView(row["context"], row["lang"])
        foreign[row["lang"]] += view.is_foreign(row["sentence"])
        support = sentence_support(view, row["sentence"], row["query"])
        scores[row["lang"]].append((-1.0 if support is None else support, bool(row["supported"])))
    return {
        code: {"sentences": len(pairs), "AUROC": auroc(*map(list, zip(*pairs, strict=True))), "foreign": foreign[code]}
        for code, pairs in sorted(scores.items())
    }


def main(folder: Path) -> None:
    for path in sorted(folder.glob("xquad-*.jsonl")):
        print(path.stem, {name: round(value, 4) for name, value in xquad(path).items()}, flush=True)
    for path in sorted(folder.glob("memerag*.jsonl")):
        for code, figures in memerag(path).items():
            print(path.stem, code, {name: round(value, 3) for name, value in figures.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
