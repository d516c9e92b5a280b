"""SQuAD 2.0 as triplets to train and to evaluate on: ``python -m tests.bench._squad SOURCE FOLDER``.

SOURCE is the public dev-v2.0.json (CC BY-SA 4.0), or a folder with it or with triplets that were made of it; the hub's
rajpurkar/squad_v2 where it is empty. Of 14 articles, 4 are for evaluation. A paragraph is a document. Beside the
questions without an answer as people wrote them, which look answerable, stand questions whose passage the retrieval
missed: a question of a paragraph with another paragraph of its article, and the suffix `-missed` on its id.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from tasks.engine.errors import UserError

HUB, FILE = "rajpurkar/squad_v2", "dev-v2.0.json"
ARTICLES = {
    "train": {
        "1973_oil_crisis", "Computational_complexity_theory", "European_Union_law", "Huguenot", "Immune_system",
        "Imperialism", "Packet_switching", "Steam_engine", "Warsaw", "Yuan_dynasty",
    },
    "eval": {"Force", "French_and_Indian_War", "Normans", "Scottish_Parliament"},
}  # fmt: skip
MISSED = "-missed"
PER_PARAGRAPH = {"train": 2, "eval": 1}  # questions that stand with another paragraph, too
Row = dict[str, Any]


def make(source: str, folder: Path) -> dict[str, Path]:
    """Write folder/{train,eval}.jsonl; the same rows from every form of the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for side, rows in _read(source).items():
        made[side] = folder / f"{side}.jsonl"
        lines = [json.dumps(row) for row in [*rows, *_missed(rows, PER_PARAGRAPH[side])]]
        made[side].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made


def references(path: Path) -> dict[str, list[str]]:
    """All answers that people gave, by the row's id."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row.get("answers", []) for row in rows}  # questions without an answer may have none


def _read(source: str) -> dict[str, list[Row]]:
    place = Path(source)
    if source and place.is_dir():
        found = {side: sorted(place.glob(f"squad2*{side}*.jsonl")) for side in ARTICLES}
        if all(found.values()):
            return {side: _triplets(paths[0]) for side, paths in found.items()}
        place = place / FILE
    if source and not place.is_file():
        raise UserError(f"DATA={source}: there is no {FILE} of SQuAD 2.0", "name that file, or its folder")
    rows = list(_file(place) if source else _hub())
    sides = {side: [row for row in rows if _article(row) in articles] for side, articles in ARTICLES.items()}
    if missing := set().union(*ARTICLES.values()) - {_article(row) for row in rows}:
        raise UserError(f"{source or HUB} lacks the article {min(missing)}", f"name {FILE} of SQuAD 2.0 by DATA=")
    return sides


def _triplets(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _file(path: Path) -> Iterator[Row]:
    for article in json.loads(path.read_bytes())["data"]:
        for number, paragraph in enumerate(article["paragraphs"]):
            document = f"{article['title']}-{number}"
            for each in paragraph["qas"]:
                yield _row(each["id"], document, each["question"], paragraph["context"], each["answers"])


def _hub() -> Iterator[Row]:
    import datasets

    try:
        rows = datasets.load_dataset(HUB, split="validation")
    except Exception as error:  # of its own, and of every library below
        name = type(error).__name__
        raise UserError(f"{HUB} cannot be had from the hub here ({name})", f"name {FILE} by DATA=/path") from error
    paragraphs: dict[str, dict[str, int]] = defaultdict(dict)
    for each in rows:
        known = paragraphs[each["title"]]
        number = known.setdefault(each["context"], len(known))
        answers = [{"text": text} for text in each["answers"]["text"]]
        yield _row(each["id"], f"{each['title']}-{number}", each["question"], each["context"], answers)


def _row(name: str, document: str, query: str, context: str, answers: list[dict[str, str]]) -> Row:
    """Of several answers the most frequent one comes first."""
    texts = [text for text, _ in Counter(each["text"] for each in answers).most_common()]
    answer = texts[0] if texts else ""
    return {"id": name, "document": document, "query": query, "context": [context], "answer": answer, "answers": texts}


def _article(row: Row) -> str:
    return str(row["document"]).rpartition("-")[0]


def _missed(rows: Iterable[Row], count: int) -> Iterator[Row]:
    """`count` answerable questions of each paragraph, with another of its article that holds none of their answers."""
    contexts: dict[str, dict[str, str]] = defaultdict(dict)
    asked: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        contexts[_article(row)][row["document"]] = row["context"][0]
        if row["answer"]:
            asked[row["document"]].append(row)
    for document, questions in asked.items():
        for row in sorted(questions, key=lambda each: _place(each["id"]))[:count]:
            others = [
                context
                for name, context in contexts[_article(row)].items()
                if name != document and not any(each.lower() in context.lower() for each in row["answers"])
            ]
            if others:
                other = min(others, key=lambda context: _place(row["id"] + context))
                yield {**row, "id": row["id"] + MISSED, "context": [other], "answer": "", "answers": []}


def _place(text: str) -> str:
    return sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    print(*make(sys.argv[1], Path(sys.argv[2])).values(), sep="\n")
