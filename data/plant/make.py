# ruff: noqa: SIM905  (a string of words reads better than a list of quoted ones)
"""Write the sample domain: equipment sheets of a made-up plant, and question triplets about them.

    python data/plant/make.py            # rewrites the three JSONL files beside this script
    python data/plant/make.py --out dir  # writes them elsewhere

One seed, one order of calls, plain json: every run gives the same bytes.
"""

import argparse
import json
import random
from pathlib import Path

SEED = 20260
REFUSAL = "Not stated in the sheet."
SPLITS = {  # documents, contrast pairs, lone unanswerable rows, lone answerable rows
    "train": (200, 104, 36, 316),
    # Pairs come first, a sheet each: with a refusal on over 100 sheets, abstention can be judged, too.
    "evaluation": (130, 104, 0, 208),
}

KINDS = {
    "P": ["slurry pump", "feed pump", "vacuum pump"],
    "C": ["screw compressor", "belt conveyor"],
    "B": ["steam boiler", "hot water boiler"],
    "M": ["paddle mixer", "hammer mill"],
    "F": ["exhaust fan", "bag filter"],
    "H": ["plate exchanger", "air heater"],
    "K": ["rotary kiln", "drum dryer"],
    "T": ["storage tank", "cooling tower"],
    "R": ["stirred reactor", "robot arm"],
}
COLOURS = "red blue green yellow orange black white grey brown cream".split()
MATERIALS = "steel brass bronze copper nickel titanium rubber carbon ceramic nylon".split()
MONTHS = "January February March April May June July August September October November December".split()
STARTS = "Al Ber Cor Dan El Fal Gar Hol Ib Jan Kes Lor Mar Nor Os Pel Ros Sol Tor Ul Ves Wil".split()
MIDDLES = "a e i o an er in or el".split()
ENDS = "dt ck ling mann sen ski vik well rup berg ford nov".split()


def number(low: int, high: int, unit: str, step: int = 1):
    return lambda r: f"{r.randrange(low, high + 1, step)} {unit}"


def one_of(words: list[str]):
    return lambda r: r.choice(words)


def name(r: random.Random) -> str:
    return r.choice(STARTS) + r.choice(MIDDLES) + r.choice(ENDS)


def code(r: random.Random) -> str:
    letters = "".join(r.choice("ABDEGHKLMNRSTVWX") for _ in range(2))
    return f"{letters}-{r.randint(10, 999)}"


def date(r: random.Random) -> str:
    return f"{r.randint(1, 28)} {r.choice(MONTHS)} {r.randint(2004, 2025)}"


# attribute: (how its value is drawn, how plant staff ask for it without naming it, if they do)
ATTRIBUTES = {
    "operating pressure": (number(2, 60, "bar"), None),
    "test pressure": (number(61, 120, "bar"), None),
    "motor speed": (number(600, 3000, "rpm", 10), "How fast does {tag} turn?"),
    "motor power": (number(2, 400, "kW"), "How strong is {tag}?"),
    "motor frame": (code, None),
    "flow rate": (number(5, 900, "litres", 5), None),
    "fill rate": (number(5, 90, "litres"), None),
    "outlet temperature": (number(20, 300, "degrees"), "How hot does {tag} get?"),
    "inlet temperature": (number(5, 90, "degrees"), None),
    "noise level": (number(48, 99, "decibels"), "How loud is {tag}?"),
    "water level": (number(100, 900, "mm", 5), None),
    "oil grade": (
        lambda r: f"VG {r.choice([10, 15, 22, 32, 46, 68, 100, 150, 220, 320])}",
        "What do I lubricate {tag} with?",
    ),
    "oil volume": (number(1, 80, "litres"), None),
    "tank volume": (number(100, 990, "litres", 10), None),
    "service interval": (number(2, 60, "weeks"), "How often is {tag} overhauled?"),
    "cleaning interval": (number(2, 40, "days"), "How often is {tag} washed?"),
    "inspection date": (date, "When was {tag} checked?"),
    "delivery date": (date, "When did {tag} arrive?"),
    "dry weight": (number(40, 9000, "kg", 5), "How heavy is {tag}?"),
    "base weight": (number(10, 400, "kg"), None),
    "overall length": (number(400, 9000, "mm", 10), "How long is {tag}?"),
    "base height": (number(40, 400, "mm"), None),
    "serial number": (code, None),
    "part number": (code, None),
    "filter type": (code, None),
    "filter size": (number(5, 900, "mm"), None),
    "bearing type": (code, None),
    "bearing clearance": (number(10, 90, "microns"), None),
    "belt tension": (number(100, 900, "newtons", 5), None),
    "belt width": (number(200, 1200, "mm", 50), None),
    "supply voltage": (number(110, 690, "volts", 10), "What mains does {tag} need?"),
    "fuse rating": (number(2, 250, "amps"), None),
    "paint colour": (one_of(COLOURS), "How is {tag} painted?"),
    "label colour": (one_of(COLOURS), None),
    "casing material": (one_of(MATERIALS), "What is {tag} made of?"),
    "gasket material": (one_of(MATERIALS), None),
    "maker name": (name, "Who built {tag}?"),
    "supplier name": (name, None),
    "duty engineer": (name, "Whom do I call about {tag}?"),
    "spare bay": (code, "Where are spares of {tag} kept?"),
    "access code": (code, None),
    "alarm code": (code, None),
}
HELD_OUT = {"test pressure", "tank volume", "label colour", "alarm code", "fill rate"}  # never asked in training
FACTS = [("{A}: {v}.", 6), ("The {a} is {v}.", 3), ("It has a {a} of {v}.", 1)]
NAMED = [  # the question names the attribute as the sheet does
    "Give me the {a} for {tag}.",
    "For {tag}, what {a} applies?",
    "{tag}, {a}?",
    "I want to know the {a} of {tag}.",
]
POLITE = [  # meant as a request; a literal reader answers "yes"
    "Can you tell me the {a} of {tag}?",
    "Do you know the {a} of {tag}?",
    "Could you look up the {a} for {tag}?",
]
SHARES = (0.40, 0.28, 0.32)  # of named, polite and plant-worded questions


def words(attribute: str) -> set[str]:
    return set(attribute.split())


def draw_sheet(r: random.Random, tag: str) -> dict:
    """A sheet of 8 to 12 facts, rich in attributes that share a word."""
    pool = list(ATTRIBUTES)
    r.shuffle(pool)
    chosen: list[str] = []
    enough = r.randint(8, 11)
    for attribute in pool:
        if len(chosen) >= enough:
            break
        chosen.append(attribute)
        relatives = [a for a in pool if a not in chosen and words(a) & words(attribute)]
        if relatives and r.random() < 0.5:
            chosen.append(r.choice(relatives))
    chosen = list(dict.fromkeys(chosen))
    kind = r.choice(KINDS[tag[0]])
    facts = {}
    for a in chosen:
        value = ATTRIBUTES[a][0](r)
        while value in facts.values():  # a value names one fact, so a right answer is right for one reason
            value = ATTRIBUTES[a][0](r)
        facts[a] = value
    said = {}
    for a, v in facts.items():
        form = r.choices([f for f, _ in FACTS], [w for _, w in FACTS])[0]
        if form.startswith("It") and a[0] in "aeiou":
            form = "The {a} is {v}."
        said[a] = form.format(a=a, A=a.capitalize(), v=v)
    return {"tag": tag, "kind": kind, "head": f"Data sheet {tag}, {kind}.", "facts": facts, "said": said}


def passage(sheet: dict, attributes: list[str]) -> str:
    return " ".join([sheet["head"], *(sheet["said"][a] for a in sheet["said"] if a in attributes)])


def question(r: random.Random, tag: str, attribute: str) -> str:
    plant_worded = ATTRIBUTES[attribute][1]
    kind = r.choices(("named", "polite", "plant"), SHARES)[0]
    if kind == "plant" and plant_worded:
        return plant_worded.format(tag=tag)
    return r.choice(POLITE if kind == "polite" else NAMED).format(a=attribute, tag=tag)


def neighbours(r: random.Random, sheet: dict, asked: str) -> list[str]:
    """Three to six other attributes of the sheet, those that share a word with the asked one first."""
    others = [a for a in sheet["facts"] if a != asked]
    r.shuffle(others)
    others.sort(key=lambda a: not words(a) & words(asked))
    return others[: r.randint(3, 6)]


def distractors(r: random.Random, sheets: list[dict], sheet: dict, used: set[str]) -> list[str]:
    """None, one or two short passages of other sheets whose attributes are not in use yet."""
    found: list[str] = []
    for other in r.sample(sheets, len(sheets))[: r.choices((0, 1, 2), (0.6, 0.25, 0.15))[0]]:
        free = [a for a in other["facts"] if a not in used]
        if other is sheet or len(free) < 2:
            continue
        kept = r.sample(free, min(len(free), r.randint(2, 3)))
        used |= set(kept)
        found.append(passage(other, kept))
    return found


def row(
    r: random.Random, sheets: list[dict], sheet: dict, asked: str, query: str, kept: list[str], answered: bool
) -> dict:
    own = passage(sheet, [*kept, asked] if answered else kept)
    context = [own, *distractors(r, sheets, sheet, {asked, *kept})]
    r.shuffle(context)
    line = {"document": sheet["tag"], "query": query, "context": context}
    if not answered:
        return {**line, "answer": REFUSAL, "gold": []}
    value = sheet["facts"][asked]
    return {**line, "answer": f"{value}, sheet {sheet['tag']}.", "gold": [context.index(own)], "value": value}


def draw_rows(r: random.Random, sheets: list[dict], split: str) -> list[dict]:
    _, pairs, lone_unanswerable, lone_answerable = SPLITS[split]
    kinds = ["pair"] * pairs + ["absent"] * lone_unanswerable + ["present"] * lone_answerable
    asked_before: set[tuple[str, str]] = set()
    rows: list[dict] = []
    for i, kind in enumerate(kinds):
        sheet = sheets[i % len(sheets)]
        while True:
            pool = [a for a in ATTRIBUTES if (a in sheet["facts"]) == (kind != "absent")]
            # plant-worded attributes twice as often: their wording is what the tuning has to learn
            asked = r.choices(pool, [2 if ATTRIBUTES[a][1] else 1 for a in pool])[0]
            if (sheet["tag"], asked) in asked_before or (split == "train" and asked in HELD_OUT):
                continue
            break
        asked_before.add((sheet["tag"], asked))
        query = question(r, sheet["tag"], asked)
        kept = neighbours(r, sheet, asked)
        if kind != "absent":
            rows.append(row(r, sheets, sheet, asked, query, kept, True))
        if kind != "present":
            rows.append(row(r, sheets, sheet, asked, query, kept, False))
    r.shuffle(rows)
    return [{"id": f"{split}-{i:04}", **line} for i, line in enumerate(rows)]


def write(path: Path, rows: list[dict]) -> None:
    path.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in rows), encoding="utf-8", newline="\n"
    )


def make(out: Path) -> None:
    r = random.Random(SEED)
    tags = [f"{letter}-{n}" for letter in KINDS for n in range(101, 1000)]
    tags = r.sample(tags, sum(spec[0] for spec in SPLITS.values()))
    sheets = [draw_sheet(r, tag) for tag in tags]
    out.mkdir(parents=True, exist_ok=True)
    write(
        out / "documents.jsonl",
        [
            {"id": s["tag"], "title": f"Data sheet {s['tag']}", "kind": s["kind"], "text": passage(s, list(s["facts"]))}
            for s in sheets
        ],
    )
    for split, (documents, *_) in SPLITS.items():
        own, sheets = sheets[:documents], sheets[documents:]
        write(out / f"{split}.jsonl", draw_rows(r, own, split))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    make(parser.parse_args().out)
