"""How many floating-point operations a step of training is worth, by its model and its rows.

Of useful tokens alone: what padding, recomputed activations, unpacking of 4-bit weights and the other half of a causal
mask cost, is cost and no use. A multiplication with an addition counts as two.
"""

from math import prod

from tasks.training.memory import Shape


def flops(shape: Shape, *, trained: int, tokens: int, scored: int, pairs: int) -> int:
    """Forward and backward pass of `tokens` tokens, of which `scored` have a loss, in rows that make `pairs` pairs.

    - a frozen weight of a linear layer: 2 a token forward, 2 for the gradient of its input; none for its own
    - a weight of the adapter: 2 forward, 2 for the input's gradient, 2 for its own
    - a weight of the head, frozen: 4 a scored token
    - attention: scores and their sum of values are 2 each for a pair and a number of a head forward, and twice that
      backward; a row of n tokens makes n (n + 1) / 2 pairs
    """
    linear = sum(map(prod, shape.linear.values()))
    head = shape.hidden * shape.vocab
    attention = 3 * 2 * 2 * shape.layers * shape.heads * shape.head_dim
    return tokens * (4 * linear + 6 * trained) + scored * 4 * head + pairs * attention
