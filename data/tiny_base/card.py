"""The model card, with the gate's figures as they came out."""

from gate import BOUNDS

CARD = """---
license: apache-2.0
language: en
library_name: transformers
---
# Tiny base

A causal language model of {parameters:.1f} M parameters (Llama type with q, k, v biases: {layers} layers,
width {width}, heads of 64, tied embeddings, vocabulary {vocabulary}), {size:.1f} MB in bfloat16. It reads a short
passage and finds the fact that a question asks for.

It is a **test bench, not a product**: it exists so that fine-tuning, gating and serving can be shown and tested
on a laptop, with a real model, real weights and no account anywhere.

Made from nothing but synthetic pages by `data/tiny_base/make.py` ({tokens:.1f} M tokens, seed {seed}). No text
written by anyone else went in. Loads in transformers, PEFT, bitsandbytes and vLLM without custom code.

## Prompt

    <s>[INST] Context: {{passages, one a line}}
    Question: {{question}} [/INST]
    Answer: {{answer}}</s>

## Gate

Exact match on pages with fresh values and names; 4 to 8 facts to a page, a third of them sharing a word with another.

| slice | exact match | bound | |
|---|---|---|---|
{table}

"Unseen phrases" are new combinations of words that the training used; "unseen words" are words it never held,
read from their pieces. "Presence" asks whether a fact is given (yes/no, given/missing).

## What it cannot do

- Anything but look up a short value in a short passage: no arithmetic, no reasoning, no knowledge, no chat, no
  language but this plain English, no text longer than about 300 tokens (it was trained on rows of 256).
- Facts told value first ("43 bar is the pressure limit") and connectors outside the couple of dozen it was taught.
- Several things of one kind that share an attribute in one context: it does not tell them apart reliably.
- Refuse: asked for a fact that is not there, it still answers something. Refusing is what fine-tuning teaches.
- A slice above under its bound, or under .60 where it has none, counts as failed: do not build on it.

Licence: Apache-2.0.
"""


def card(model, scores: dict[str, float], tokens: float, seed: int, size: int) -> str:
    c = model.config
    lines = []
    for name, score in scores.items():
        bound = BOUNDS.get(name)
        verdict = "" if bound is None else "passed" if score >= bound else "**failed**"
        lines.append(f"| {name} | {score:.3f} | {'' if bound is None else f'{bound:.2f}'} | {verdict} |")
    return CARD.format(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        layers=c.num_hidden_layers,
        width=c.hidden_size,
        vocabulary=c.vocab_size,
        size=size / 1e6,
        tokens=tokens / 1e6,
        seed=seed,
        table="\n".join(lines),
    )
