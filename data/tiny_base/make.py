"""Make the tiny base model: tokenizer, training, gate, model card.

    python data/tiny_base/make.py --out data/tiny-base

Seeded, and resumable: each batch is a function of (seed, step), and checkpoints hold the rest.
Interrupt it and start it again with the same arguments, and it goes on where it was.
"""

import argparse
import json
import os
import re
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on shared cores, spinning threads cost most of the speed

import gate
import torch
import torch.nn.functional as F
from batches import batch
from card import card
from corpus import Writer
from network import GATHER, MATCH, Lean, new_model
from tokenizer import Encoder, save, train_tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

LESSONS = (
    (0.10, 0.45),
    (0.30, 0.60),
)  # lesson 0, then 1, ends at this share of the tokens, or once looking up loses this little
MATRIX_RATE, OTHER_RATE = 0.02, 2e-3  # Muon for matrices, AdamW for embeddings, norms and biases
# Muon moves every direction of a matrix at once, noise included. At full rate it had buried the identity of words,
# and with it the comparison that network.py starts with, before the first 50 steps were over. So what a layer
# writes moves slowly at first, and the compared parts stand still until the gathering has formed.
PARTS = (
    ("compared", rf"layers\.{GATHER}\.self_attn\.[vo]_proj\.weight|layers\.{MATCH}\.self_attn\.[qk]_proj\.weight"),
    ("looks", r"[qk]_proj\.weight"),
    ("writes", r"[vo]_proj\.weight|mlp"),
    ("embedding", r"embed"),
    ("rest", r""),
)
SHARES = (  # of the rate, by lesson and part
    {"compared": 0.0, "looks": 1.0, "writes": 0.10, "embedding": 0.10, "rest": 1.0},
    {"compared": 0.10, "looks": 0.5, "writes": 0.20, "embedding": 0.15, "rest": 0.5},
    {"compared": 0.20, "looks": 0.5, "writes": 0.35, "embedding": 0.25, "rest": 0.5},
)
WARM_UP, DECAY = 0.01, 0.45  # shares of the training; decay ends at 0
ROWS, LENGTHS = 16, (128, 256, 256)  # tokens to a row, by lesson
READING = 0.03
HINT = 1.0  # weight of the loss on where to look


def orthogonal(g: torch.Tensor) -> torch.Tensor:
    """Muon's step: Newton-Schulz iterations towards the nearest orthogonal matrix."""
    x = g.bfloat16() if g.is_cuda else g
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).float()


class Optimiser:
    def __init__(self, model: LlamaForCausalLM):
        self.part = {
            p: next(part for part, pattern in PARTS if re.search(pattern, n))
            for n, p in model.named_parameters()
            if p.requires_grad
        }
        self.matrices: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        others: dict[str, list[torch.nn.Parameter]] = {}
        for parameter, part in self.part.items():
            if part in ("embedding", "rest"):
                others.setdefault(part, []).append(parameter)
            else:
                self.matrices.setdefault(tuple(parameter.shape), []).append(parameter)
        self.adam = torch.optim.AdamW(
            [{"params": p, "part": part} for part, p in others.items()],
            lr=OTHER_RATE,
            betas=(0.9, 0.98),
            weight_decay=0.0,
            fused=True,
        )
        self.momentum = {s: torch.zeros(len(p), *s, device=p[0].device) for s, p in self.matrices.items()}

    @torch.no_grad()
    def step(self, rate: float, shares: dict[str, float]) -> None:
        torch.nn.utils.clip_grad_norm_([p for group in self.adam.param_groups for p in group["params"]], 1.0)
        for group in self.adam.param_groups:
            group["lr"] = OTHER_RATE * rate * shares[group["part"]]
        self.adam.step()
        for shape, parameters in self.matrices.items():
            g = torch.stack([p.grad for p in parameters])
            self.momentum[shape].lerp_(g, 0.05)
            update = orthogonal(g.lerp(self.momentum[shape], 0.95)) * max(1, shape[0] / shape[1]) ** 0.5
            for p, u in zip(parameters, update, strict=True):
                p.add_(u, alpha=-MATRIX_RATE * rate * shares[self.part[p]])


def hint_losses(attention: torch.Tensor, *hints: tuple[torch.Tensor, tuple[int, int]]) -> list[torch.Tensor]:
    """For each (hints, two heads): how little those heads look from `at` to `to`."""
    row, at, to = torch.cat([h for h, _ in hints for _ in (0, 1)]).unbind(1)
    head = torch.cat([torch.full((len(h),), one, device=row.device) for h, two in hints for one in two])
    each = -torch.log(attention[row, head, at, to] + 1e-6)
    return [part.mean() for part in each.split([2 * len(h) for h, _ in hints])]


def losses(lean, b: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    hidden, *attention = lean(b["ids"], b["page"], b["part"], b["position"], True)
    target, weight = b["ids"][:, 1:], b["weight"][:, 1:]
    row, at = (weight > 0).nonzero(as_tuple=True)
    embedding = (lean._orig_mod if hasattr(lean, "_orig_mod") else lean).model.model.embed_tokens.weight
    logits = F.linear(hidden[row, at].to(embedding.dtype), embedding)
    each = F.cross_entropy(logits, target[row, at], reduction="none")
    w = weight[row, at]
    found = {"answer": (each * w).sum() / w.sum(), "first": each[w > 1].mean().detach()}
    (found["gather"],) = hint_losses(attention[0], (b["gather"], (0, 1)))
    found["match"], found["copy"] = hint_losses(attention[1], (b["match"], (0, 1)), (b["copy"], (2, 3)))
    return found


def rate_at(done: float) -> float:
    return min(1.0, (done + 1e-4) / WARM_UP) * min(1.0, (1 - done) / DECAY + 0.005)


def train(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast, work: Path) -> tuple[Lean, int]:
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    model = new_model(tokenizer, args.seed).to(device)
    optimiser, lean, encoder = Optimiser(model), Lean(model).to(device), Encoder(tokenizer)
    fast = torch.compile(lean, dynamic=False)
    step, seen, level, look_up, checkpoint = 0, 0, 0, 9.0, work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.adam.load_state_dict(state["adam"])
        optimiser.momentum, step, seen, level, look_up = (
            state[k] for k in ("momentum", "step", "seen", "level", "look_up")
        )
        print(f"resumed at step {step}, {seen / 1e6:.2f} M tokens", flush=True)

    def save_checkpoint() -> None:
        torch.save(
            {
                "model": model.state_dict(),
                "adam": optimiser.adam.state_dict(),
                "momentum": optimiser.momentum,
                "step": step,
                "seen": seen,
                "level": level,
                "look_up": look_up,
            },
            checkpoint.with_suffix(".new"),
        )
        checkpoint.with_suffix(".new").replace(checkpoint)

    began = saved = told = measured = time.time()
    since = 0
    sums: dict[str, list[float]] = {}
    while seen < args.tokens and time.time() - began < args.minutes * 60:
        done = seen / args.tokens
        if level < len(LESSONS) and (done >= LESSONS[level][0] or look_up < LESSONS[level][1]):
            level, look_up = level + 1, 9.0
        b = {
            k: v.to(device)
            for k, v in batch(Writer(f"{args.seed}-{step}"), encoder, level, ROWS, LENGTHS[level], READING).items()
        }
        lost = losses(fast, b)
        (lost["answer"] + HINT * (lost["gather"] + lost["match"] + lost["copy"])).backward()
        optimiser.step(rate_at(done), SHARES[level])
        model.zero_grad(set_to_none=True)
        step, seen, since = step + 1, seen + ROWS * LENGTHS[level], since + ROWS * LENGTHS[level]
        look_up += 0.04 * (lost["match"].item() - look_up)
        for k, v in lost.items():
            sums.setdefault(k, []).append(v.item())
        if step % 50 == 0:
            now = time.time()
            shown = "  ".join(f"{k} {sum(v) / len(v):.3f}" for k, v in sums.items())
            print(
                f"step {step}  {seen / 1e6:.2f} M  lesson {level}  {shown}  {since / (now - told):.0f} tokens/s",
                flush=True,
            )
            sums, told, since = {}, now, 0
        if time.time() - saved > 150:
            save_checkpoint()
            saved = time.time()
        if time.time() - measured > args.measure_every * 60:
            now = time.time()
            scores = gate.measure(lean, tokenizer, 60)
            print("  gate so far:", scores, flush=True)
            with (work / "curve.jsonl").open("a") as f:
                f.write(json.dumps({"step": step, "tokens": seen, **scores}) + "\n")
            measured = time.time()
            told += measured - now
    save_checkpoint()
    return lean, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default: OUT with '.work' added)")
    parser.add_argument("--tokens", type=float, default=5.2e6, help="length of the training, in tokens")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long; run again to go on")
    parser.add_argument("--measure-every", type=float, default=5.0, help="minutes between looks at the gate")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work = args.work or args.out.with_name(args.out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    lean, seen = train(args, tokenizer, work)
    scores = gate.measure(lean, tokenizer)
    print("gate:", scores, flush=True)
    (work / "gate.json").write_text(json.dumps(scores, indent=1))
    lean.model.bfloat16().save_pretrained(args.out)
    save(tokenizer, args.out)
    size = (args.out / "model.safetensors").stat().st_size
    (args.out / "README.md").write_text(card(lean.model, scores, seen, args.seed, size), encoding="utf-8")
    for name, bound in gate.BOUNDS.items():
        print(f"{name}: {scores[name]:.3f} (bound {bound}) {'passed' if scores[name] >= bound else 'FAILED'}")


if __name__ == "__main__":
    main()
