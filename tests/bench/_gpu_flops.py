"""How many floating-point operations a step of training is worth, by its model and its rows.

Of what is of use alone: padding, recomputed activations, the unpacking of 4-bit weights, the other half of a causal
mask and what comes behind the last layer's keys and values at a token without a loss are cost and no use, whoever pays
it. A multiplication with an addition counts as two.
"""

from math import prod

from tasks.training.memory import BaseShape


def flops(shape: BaseShape, *, trained: int, tokens: int, scored: int, pairs: int) -> int:
    """Forward and backward pass of `tokens` tokens, of which `scored` have a loss, in rows that make `pairs` pairs.

    - a frozen weight of a linear layer: 2 a token forward, 2 for the gradient of its input; none for its own
    - a weight of the adapter: 2 forward, 2 for the input's gradient, 2 for its own
    - a weight of the head, frozen, and of the last layer's o_proj and MLP: 4 a scored token
    - attention: scores and their sum of values are 2 each for a pair and a number of a head forward, and twice that
      backward; a row of n tokens makes n (n + 1) / 2 pairs
    """
    behind = sum(prod(sides) for name, sides in shape.linear.items() if _behind_attention(name, shape.layers - 1))
    linear = sum(map(prod, shape.linear.values())) - behind
    head = shape.hidden * shape.vocab + behind
    attention = 3 * 2 * 2 * shape.layers * shape.heads * shape.head_dim
    return tokens * (4 * linear + 6 * trained) + scored * 4 * head + pairs * attention


def _behind_attention(name: str, layer: int) -> bool:
    return f".layers.{layer}." in name and ("o_proj" in name or ".mlp." in name)
