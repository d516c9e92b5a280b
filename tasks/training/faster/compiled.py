"""`train.compile`: torch.compile makes one kernel of what stands between matrix products, forward and back.

Norms, the inside of an MLP and rotary embeddings are passes over memory, a dozen each, that do little else. Not taken:
adapted layers (fused.py), which break the graph, and attention, which is one kernel already.
"""

import sys
from functools import partial
from typing import Any

from tasks.engine.errors import UserError
from tasks.training.faster.answers import layers_of


def compile_between(model: Any) -> None:
    """Compile these parts of a PEFT model, once for all lengths.

    UserError where there is nothing to compile with: a C++ compiler on a CPU, Triton and a C compiler on a GPU.
    """
    import torch

    decoder = model.get_base_model().base_model
    norms = [module for module in decoder.modules() if type(module).__name__.endswith("RMSNorm")]
    mlps = [layer.mlp for layer in layers_of(decoder) if hasattr(getattr(layer, "mlp", None), "down_proj")]
    compiled = partial(torch.compile, dynamic=True)
    _require(compiled, model.device)
    for module in (*norms, *mlps):
        module.forward = compiled(module.forward)
    written = sys.modules[type(decoder).__module__]
    if hasattr(written, "apply_rotary_pos_emb"):
        written.apply_rotary_pos_emb = compiled(written.apply_rotary_pos_emb)  # type: ignore[attr-defined]


def _require(compiled: Any, device: Any) -> None:
    import torch

    numbers = torch.ones(8, device=device, requires_grad=True)  # not in `try`: a GPU that fails lacks no compiler
    try:
        compiled(lambda x: (x * x).sum())(numbers).backward()
    except Exception as error:  # of dynamo, inductor, Triton or a compiler
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"train.compile is true, and torch.compile does not work here: {said[:300]}",
            "install a C++ compiler (Debian: g++), or set train.compile to false",
        ) from error
