"""What the base must read before it is shipped, on phrases, names and values it has never met."""

import torch
import torch.nn.functional as F
from corpus import HELD_OUT, READ, Writer, prompt

BOUNDS = {"seen phrases": 0.70, "unseen phrases": 0.60, "presence": 0.85}
HELD = frozenset({HELD_OUT})


def questions(kind: str, count: int, *, buckets=HELD, unread=0.0, passages=1, facts=(4, 8)) -> list[tuple[str, str]]:
    writer = Writer(f"gate {kind} {buckets} {unread} {passages}", buckets, unread)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        page = writer.page(
            writer.r.randint(*facts),
            4,
            near=0.35,
            passages=passages,
            presence=1.0 if kind == "presence" else 0.0,
            silent=0,
        )
        found += [(prompt(page, q), f" {q.answer}</s>") for q in page.questions if q.kind == kind][:1]
    return found


def slices(count: int = 400) -> dict[str, list[tuple[str, str]]]:
    return {
        "seen phrases": questions("short", count, buckets=READ),
        "unseen phrases": questions("short", count),
        "presence": questions("presence", count),
        "unseen words": questions("short", count, unread=1.0),
        "two passages": questions("short", count, passages=2),
        "full sentence": questions("sentence", count // 2),
        "value and name": questions("named", count // 2),
    }


@torch.no_grad()
def exact(lean, tokenizer, examples: list[tuple[str, str]]) -> float:
    """Share answered exactly. Teacher-forced argmax of every token equals greedy decoding being exact."""
    encoded = sorted(
        (
            (tokenizer(p, add_special_tokens=False)["input_ids"], tokenizer(a, add_special_tokens=False)["input_ids"])
            for p, a in examples
        ),
        key=lambda x: len(x[0]),
    )
    embedding = lean.model.model.embed_tokens.weight
    right = 0
    for start in range(0, len(encoded), 50):
        group = encoded[start : start + 50]
        length = max(len(p) + len(a) for p, a in group)
        ids = torch.zeros(len(group), length, dtype=torch.long)
        for i, (p, a) in enumerate(group):
            ids[i, : len(p) + len(a)] = torch.tensor(p + a)
        ids = ids.to(embedding.device)
        same = torch.zeros_like(ids)
        hidden = lean(ids, same, same, torch.arange(length, device=ids.device).expand_as(ids))[0]
        for i, (p, a) in enumerate(group):
            said = F.linear(hidden[i, len(p) - 1 : len(p) + len(a) - 1].to(embedding.dtype), embedding).argmax(-1)
            right += said.tolist() == a
    return right / len(encoded)


def measure(lean, tokenizer, count: int = 400) -> dict[str, float]:
    return {name: round(exact(lean, tokenizer, examples), 3) for name, examples in slices(count).items()}
