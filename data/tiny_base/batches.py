"""Pages to training rows: token ids, who may see whom, what is learnt, and where each answer stands."""

from dataclasses import dataclass

import numpy as np
import torch
from corpus import ASK, END, HEAD, Page, Writer
from tokenizer import Encoder


@dataclass
class Encoded:
    """One page and its questions as parallel lists."""

    ids: list[int]
    part: list[int]  # 0: the page, k: question k
    position: list[int]
    weight: list[float]  # of the loss on this token; 0: not learnt
    gather: list[tuple[int, int]]  # (from, to): tokens that name the attribute
    match: list[tuple[int, int]]  # (from, to): the value's first token, or the page's first token when it is missing
    copy: list[tuple[int, int]]  # (from, to): the value's further tokens


FIRST = 3.0  # the first token of an answer is the look-up itself


def encode(page: Page, encoder: Encoder, room: int) -> Encoded:
    ids = encoder("<s>" + HEAD.rstrip(" "))
    e = Encoded(ids, [0] * len(ids), list(range(len(ids))), [0.0] * len(ids), [], [], [])
    phrase: dict[int, list[int]] = {}
    value: dict[int, list[int]] = {}

    def add(text: str, part: int, weight: float = 0.0) -> list[int]:
        new = encoder(text)
        at = len(e.ids)
        start = e.position[-1] + 1 if part == e.part[-1] else page_end
        e.ids.extend(new)
        e.part.extend([part] * len(new))
        e.position.extend(range(start, start + len(new)))
        e.weight.extend([weight] * len(new))
        return list(range(at, at + len(new)))

    page_end = 0
    for i, piece in enumerate(page.pieces):
        span = add(" " + piece.text if i == 0 else piece.text, 0)
        if piece.role == "a":
            phrase[piece.fact] = span
        elif piece.role == "v":
            value[piece.fact] = span
            e.gather += [(span[0], t) for t in phrase[piece.fact]]
    page_end = len(e.ids)
    for part, question in enumerate(page.questions, 1):
        block = [ASK, *(p.text for p in question.pieces), END, " " + question.answer if question.learnt else ""]
        if len(e.ids) + sum(len(encoder(text)) for text in block) + 1 > room:
            continue
        add(ASK, part)
        named: list[int] = []
        for piece in question.pieces:
            span = add(piece.text, part)
            if piece.role == "a":
                named = span
        ready = add(END, part)[-1]
        e.gather += [(ready, t) for t in named]
        found = value[question.fact] if question.fact >= 0 else []
        e.match.append((ready, found[0] if found else 0))
        if not question.learnt:
            continue
        span = add(" " + question.answer, part, 1.0)
        e.weight[span[0]] = FIRST
        if question.kind in ("short", "named"):
            e.copy += list(zip(span, found[1:], strict=False))
        add("</s>", part, 1.0)
    return e


def batch(
    writer: Writer, encoder: Encoder, level: int, rows: int, length: int, reading: float
) -> dict[str, torch.Tensor]:
    """`reading`: share of the page's own tokens that carry a small loss."""
    fields = {
        name: np.zeros((rows, length), kind)
        for name, kind in (
            ("ids", np.int64),
            ("page", np.int64),
            ("part", np.int64),
            ("position", np.int64),
            ("weight", np.float32),
        )
    }
    hints: dict[str, list[tuple[int, int, int]]] = {"gather": [], "match": [], "copy": []}
    used = [0] * rows
    pages = misses = 0
    while misses < 4:
        room = length - min(used)
        page = writer.lesson(level if writer.r.random() < 0.9 else max(0, level - 1))
        e = encode(page, encoder, room if room > length // 2 else length)
        n = len(e.ids)
        if not e.match:
            misses += 1
            continue
        fitting = [i for i in range(rows) if used[i] + n <= length]
        if not fitting:
            misses += 1
            continue
        row = max(fitting, key=lambda i: used[i])
        at, pages = used[row], pages + 1
        span = slice(at, at + n)
        used[row] += n
        weight = np.array(e.weight, np.float32)
        own = np.array([writer.r.random() < reading for _ in range(n)]) & (np.array(e.part) == 0)
        own[0] = False
        fields["ids"][row, span], fields["page"][row, span] = e.ids, pages
        fields["part"][row, span], fields["position"][row, span] = e.part, e.position
        fields["weight"][row, span] = np.where(own, 0.3, weight)
        for name in hints:
            hints[name] += [(row, at + a, at + b) for a, b in getattr(e, name)]
    return {
        **{k: torch.from_numpy(v) for k, v in fields.items()},
        **{k: torch.tensor(v or [(0, 0, 0)]) for k, v in hints.items()},
    }
