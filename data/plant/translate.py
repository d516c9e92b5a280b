"""The sample in another language, row by row: the same sheets, questions, values and refusals in its words.

python data/plant/translate.py de --out FOLDER  # train.jsonl and evaluation.jsonl in German, from CODE.yaml here
"""

import argparse
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ENGLISH_REFUSAL = "Not stated in the sheet."
TAG = r"[A-Z]-\d{3}"


class Translation:
    """What a language's file holds, applied to the texts that make.py makes."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.known: dict[str, Any] = yaml.safe_load((HERE / f"{code}.yaml").read_text(encoding="utf-8"))
        self.attributes: dict[str, str] = self.known["attributes"]

    def filled(self, template: str, attribute: str = "", **texts: str) -> str:
        """A text of the language for an English attribute, in the form that its gender asks for."""
        gender, _, name = self.attributes.get(attribute, "").rpartition(" ")
        forms = self.known["genders"].get(gender, {})
        forms = forms | {key.capitalize(): form.capitalize() for key, form in forms.items()}
        return template.format(a=name, A=name[:1].upper() + name[1:], **forms, **texts)

    def value(self, english: str) -> str:
        """``43 bar``, ``7 May 2021``, ``red``; codes and names are the same in every language."""
        words = self.known["words"]
        first, *rest = english.split()
        if len(rest) == 2 and rest[0] in words:
            return str(self.known["date"].format(day=first, month=words[rest[0]], year=rest[1]))
        if len(rest) == 1 and rest[0] in words:
            return str(self.known["number"].format(number=first, unit=words[rest[0]]))
        return str(words.get(english, english))

    def passage(self, english: str) -> str:
        """A sheet: its head, then its facts."""
        head, *facts = re.split(r"(?<=\.) ", english)
        tag, kind = re.fullmatch(rf"Data sheet ({TAG}), (.*)\.", head).groups()  # type: ignore[union-attr]
        said = [self.filled(self.known["head"], tag=tag, kind=self.known["words"][kind]), *map(self.fact, facts)]
        return str(self.known["joint"].join(said))

    def fact(self, english: str) -> str:
        template, found = matched(english, tuple(self.known["facts"]))
        return self.filled(self.known["facts"][template], found["a"], v=self.value(found["v"]))

    def question(self, english: str) -> str:
        template, found = matched(english, tuple(self.known["questions"]))
        return self.filled(self.known["questions"][template], found.get("a", ""), tag=found["tag"])

    def row(self, english: dict[str, Any]) -> dict[str, Any]:
        """A row of train.jsonl or evaluation.jsonl."""
        row = english | {
            "language": self.code,
            "query": self.question(english["query"]),
            "context": [self.passage(each) for each in english["context"]],
            "answer": self.known["refusal"],
        }
        if "value" in english:
            row["value"] = self.value(english["value"])
            row["answer"] = self.filled(self.known["answer"], v=row["value"], tag=english["document"])
        return row


def matched(text: str, templates: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The template that a text is made from, and what stands in it."""
    for template, pattern in _patterns(templates):
        if found := pattern.fullmatch(text):
            return template, {
                key.lower(): value.lower() if key == "A" else value for key, value in found.groupdict().items()
            }
    raise ValueError(f"no template makes {text!r}: add it to the language's file")


@cache
def _patterns(templates: tuple[str, ...]) -> list[tuple[str, "re.Pattern[str]"]]:
    parts = {"tag": TAG, "a": "[a-z ]+", "A": "[A-Z][a-z ]+", "v": ".+"}
    return [
        (each, re.compile(re.sub(r"\\{(\w+)\\}", lambda part: f"(?P<{part[1]}>{parts[part[1]]})", re.escape(each))))
        for each in templates
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", help="code of a file beside this script: de, zh")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    given = parser.parse_args()
    translation = Translation(given.language)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in ("train.jsonl", "evaluation.jsonl"):
        lines = (HERE / name).read_text(encoding="utf-8").splitlines()
        rows = [json.dumps(translation.row(json.loads(line)), ensure_ascii=False) + "\n" for line in lines]
        (given.out / name).write_text("".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
