"""Synthetic pages with questions: what the tiny base learns to read from.

A page is one context (one to three short passages, each about one made-up thing) and several
questions about it. Text is kept as pieces that know which fact they belong to, so that training
can also say *where* an answer stands (see batches.py), not only what it is.

Three lessons, each harder: keys of one word; keys of one to three words with near misses that
share a word; then many wordings, presence questions and several passages.
"""

import random
import re
import runpy
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import words as w
from wordings import FACTS, FILLERS, GIVEN, HEADERS, NAMED, PRESENCE, SENTENCE, SHORT

PLANT = Path(__file__).parents[1] / "plant" / "make.py"
RESERVED = frozenset(runpy.run_path(str(PLANT))["ATTRIBUTES"])  # the plant's phrases never occur here
UNREAD = frozenset(w.UNREAD)
LEXICON = list(dict.fromkeys(w.MODIFIERS + w.HEADS + w.NOUNS + w.ADJECTIVES + w.COLOURS + w.STUFF))
HELD_OUT = 0  # of ten buckets of phrases and names, the one that only the gate uses
READ = frozenset(range(1, 10))


def bucket(text: str) -> int:
    return zlib.crc32(text.lower().encode()) % 10


@dataclass
class Piece:
    text: str
    role: str = ""  # "a": attribute phrase, "v": value
    fact: int = -1


@dataclass
class Question:
    pieces: list[Piece]
    answer: str
    kind: str  # short | sentence | named | presence | silent
    fact: int  # the fact it is about; -1 when the page does not hold it
    attribute: str

    @property
    def learnt(self) -> bool:
        """A silent question (about a missing fact) teaches where to look, never what to say."""
        return self.kind != "silent"


@dataclass
class Page:
    pieces: list[Piece]
    questions: list[Question] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(p.text for p in self.pieces)


def nested(a: str, b: str) -> bool:
    """One phrase holds all the words of the other: a question about it would have two right answers."""
    x, y = set(a.split()), set(b.split())
    return x <= y or y <= x


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def fill(template: str, fact: int = -1, **slots: str) -> list[Piece]:
    """Template to pieces; a slot takes the space before it along, as its tokens will."""
    if slots["a"][0] in "aeiou":
        template = template.replace(" a {a}", " an {a}")
    pieces = []
    for part in re.split(r"( ?\{[aAve]\})", template):
        slot = re.fullmatch(r"( ?)\{([aAve])\}", part)
        if slot:
            space, key = slot.groups()
            text = capital(slots["a"]) if key == "A" else slots[key]
            pieces.append(Piece(space + text, {"a": "a", "A": "a", "v": "v"}.get(key, ""), fact))
        elif part:
            pieces.append(Piece(part))
    return pieces


class Writer:
    """Draws pages. `buckets` says which phrases and names it may use, `unread` how often unread words."""

    def __init__(self, seed: int | str, buckets: frozenset[int] = READ, unread: float = 0.0):
        self.r = random.Random(seed)
        self.buckets = buckets
        self.unread = unread

    def pick(self, weighted: list[tuple[str, int]]) -> str:
        return self.r.choices([t for t, _ in weighted], [n for _, n in weighted])[0]

    # names and values
    def made_up(self, low: int = 2, high: int = 3) -> str:
        r = self.r
        while True:
            word = "".join(r.choice(w.ONSETS) + r.choice(w.VOWELS) for _ in range(r.randint(low, high))) + r.choice(
                w.CODAS
            )
            if bucket(word) in self.buckets:
                return word

    def code(self) -> str:
        r = self.r
        letters = lambda n: "".join(r.choice("ABCDEFGHJKLMNPQRSTVWXYZ") for _ in range(n))  # noqa: E731
        digits = lambda n: str(r.randint(10 ** (n - 1), 10**n - 1))  # noqa: E731
        n = r.randint(1, 3)
        return r.choice(
            [
                lambda: f"{letters(2)}-{digits(n)}",
                lambda: f"{letters(1)}{digits(n)}",
                lambda: f"{letters(3)}{digits(2)}",
                lambda: f"{digits(2)}-{letters(2)}",
                lambda: f"{letters(2)} {digits(n)}",
                lambda: f"{letters(1)}-{digits(n)}",
            ]
        )()

    def number(self) -> str:
        r = self.r
        n = str(r.choice([r.randint(2, 99), r.randint(100, 999), r.randint(1000, 9999)]))
        return n if r.random() < 0.92 else f"{r.randint(0, 99)}.{r.randint(1, 9)}"

    def value(self) -> str:
        r, k = self.r, self.r.random()
        if k < 0.38:
            unit = r.choice(w.UNITS) if r.random() < 0.85 else self.made_up(1, 2)
            return f"{self.number()} {unit}"
        if k < 0.46:
            return f"{r.randint(1, 28)} {r.choice(w.MONTHS)} {r.randint(1950, 2029)}"
        if k < 0.50:
            return self.number()
        if k < 0.66:
            return self.code()
        if k < 0.76:
            return r.choice(w.COLOURS + w.STUFF)
        if k < 0.82:
            return r.choice(w.NOUNS)
        if k < 0.95:
            return self.made_up().capitalize()
        return f"{self.made_up().capitalize()} {self.made_up(1, 2).capitalize()}"

    def entity(self) -> str:
        r, k = self.r, self.r.random()
        if k < 0.35:
            return self.made_up().capitalize()
        if k < 0.5:
            return f"{self.made_up().capitalize()} {self.made_up(1, 2).capitalize()}"
        if k < 0.7:
            return f"the {self.made_up().capitalize()} {r.choice(w.PLACES)}"
        if k < 0.8:
            return f"{self.made_up().capitalize()} {r.randint(2, 999)}"
        while True:
            code = self.code()
            if bucket(code) in self.buckets:
                return code

    # attribute phrases
    def word(self) -> str:
        r = self.r
        if r.random() < self.unread:
            return r.choice(w.UNREAD)
        return r.choice(LEXICON) if r.random() < 0.85 else self.made_up()

    def phrase(self) -> str:
        r = self.r
        while True:
            k = r.random()
            if self.unread:
                parts = (
                    [r.choice(w.UNREAD), r.choice(w.HEADS)]
                    if r.random() < 0.7
                    else [r.choice(w.MODIFIERS), r.choice(w.UNREAD)]
                )
            elif k < 0.55:
                parts = [r.choice(w.MODIFIERS), r.choice(w.HEADS)]
            elif k < 0.62:
                parts = [r.choice(w.HEADS)]
            elif k < 0.70:
                parts = [r.choice(w.MODIFIERS), r.choice(w.MODIFIERS), r.choice(w.HEADS)]
            else:
                parts = [self.word() for _ in range(r.choice((1, 2, 2, 3)))]
            if self.allowed(parts):
                return " ".join(parts)

    def allowed(self, parts: list[str]) -> bool:
        text = " ".join(parts)
        return len(set(parts)) == len(parts) and bucket(text) in self.buckets and text not in RESERVED

    def near_miss(self, phrase: str) -> str:
        """Another phrase that shares one or two words with this one."""
        while True:
            parts = phrase.split()
            if len(parts) == 1:
                parts = [*parts, self.word()] if self.r.random() < 0.5 else [self.word(), *parts]
                parts[self.r.randrange(2)] = self.word()
            else:
                i = self.r.randrange(len(parts))
                fresh = self.phrase().split()
                parts[i] = fresh[min(i, len(fresh) - 1)]
            if self.allowed(parts):
                return " ".join(parts)

    def phrases(self, n: int, near: float) -> list[str]:
        found: list[str] = []
        while len(found) < n:
            phrase = self.near_miss(self.r.choice(found)) if found and self.r.random() < near else self.phrase()
            if not any(nested(phrase, other) for other in found):
                found.append(phrase)
        return found

    # pages
    def page(
        self,
        facts: int,
        questions: int,
        *,
        near: float,
        passages: int = 1,
        presence: float = 0.25,
        silent: float = 0.1,
        plain: bool = False,
        variety: int = 99,
    ) -> Page:
        r = self.r
        attributes = self.phrases(facts, near)
        if plain:
            attributes = list(dict.fromkeys(a.split()[0] for a in attributes))
        values: list[str] = []
        while len(values) < len(attributes):
            value = self.value()
            if value not in values:
                values.append(value)
        order = list(range(len(attributes)))
        r.shuffle(order)
        owners = [self.entity() for _ in range(passages)]
        groups = [order[i::passages] for i in range(passages)]
        owner = {k: e for e, group in zip(owners, groups, strict=True) for k in group}
        joint = r.choices((" ", "\n"), (0.85, 0.15))[0]
        pieces: list[Piece] = []
        for e, group in zip(owners, groups, strict=True):
            header = (
                "" if plain else self.pick(HEADERS).format(e=capital(e), j=r.choice(w.ADJECTIVES), n=r.choice(w.NOUNS))
            )
            sentences = [[Piece(header)]] if header else []
            wordings = ["{A}: {v}."] if plain else [self.pick(FACTS[:variety]) for _ in range(r.randint(1, 4))]
            for k in group:
                wording = r.choice(wordings)
                sentences.append(
                    fill(wording, k, a=attributes[k], v=values[k], e=capital(e) if wording.startswith("{e}") else e)
                )
            if not plain and r.random() < 0.3:
                at = r.randint(1, len(sentences))
                sentences.insert(at, [Piece(r.choice(FILLERS).format(j=r.choice(w.ADJECTIVES), n=r.choice(w.NOUNS)))])
            for s in sentences:
                if pieces:
                    between = "\n" if s is sentences[0] else joint
                    s[0].text = between + s[0].text
                pieces += s
        page = Page(pieces)
        asked = list(order)
        r.shuffle(asked)
        for i in range(questions):
            k = asked[i % len(asked)]
            kind = r.random()
            missing = r.random() < 0.5 and kind < presence or kind > 1 - silent
            a = attributes[k]
            if missing:
                a = self.near_miss(a) if r.random() < 0.6 else self.phrase()
                if any(nested(a, other) for other in attributes):
                    continue
            page.questions.append(self.question(kind, presence, a, owner[k], -1 if missing else k, values[k]))
        return page

    def question(self, kind: float, presence: float, a: str, e: str, fact: int, value: str) -> Question:
        r = self.r
        if kind < presence * 0.65:
            form, answer, name = r.choice(PRESENCE), "No" if fact < 0 else "Yes", "presence"
        elif kind < presence:
            form, answer, name = r.choice(GIVEN), "missing" if fact < 0 else "given", "presence"
        elif fact < 0:
            form, answer, name = r.choice(SHORT), "", "silent"
        elif (k := r.random()) < 0.86:
            form, answer, name = r.choice(SHORT), value, "short"
        elif k < 0.93:
            form, answer, name = r.choice(SENTENCE), f"The {a} is {value}.", "sentence"
        else:
            form, answer, name = r.choice(NAMED), f"{value} ({e})", "named"
        named = capital(e) if form.startswith("{e}") else e
        return Question(fill(" " + form, fact, a=a, e=named), answer, name, fact, a)

    def lesson(self, level: int) -> Page:
        r = self.r
        if level == 0:
            return self.page(r.randint(2, 4), 5, near=0, presence=0.15, silent=0.05, plain=True)
        if level == 1:
            return self.page(r.randint(3, 6), 12, near=0.5, presence=0.2, silent=0.08, variety=4)
        passages = r.choices((1, 2, 3), (0.72, 0.18, 0.10))[0]
        facts = r.randint(3, 8) if passages == 1 else r.randint(4, 9)
        return self.page(facts, 14, near=0.35, passages=passages, presence=0.25, silent=0.12)


HEAD, ASK, END = "[INST] Context: ", "\nQuestion:", " [/INST]\nAnswer:"


def prompt(page: Page, question: Question) -> str:
    return f"<s>{HEAD}{page.text}{ASK}{''.join(p.text for p in question.pieces)}{END}"


if __name__ == "__main__":
    writer = Writer(1)
    for level in (0, 1, 2, 2, 2):
        page = writer.lesson(level)
        print(f"--- lesson {level}\n{page.text}")
        for q in page.questions:
            print("  ", "".join(p.text for p in q.pieces), "|", q.answer, f"({q.kind})")
