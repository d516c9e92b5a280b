"""LoRA's two products in one autograd function with the base layer's: x·Wᵀ + s·(x·Aᵀ)·Bᵀ.

PEFT makes x·A·B, scales it and adds it, each a pass over memory as wide as the layer, forward and back, and clones what
a layer in 4 bits gives before. Here BLAS scales and adds while it multiplies: a layer of 256 × 256 with r = 16 takes
1 / 1.3 of the time on a CPU, and memory's speed is what a GPU is short of.
"""

from types import MethodType
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def fuse(model: Any) -> int:
    """Have the adapted layers of a PEFT model compute so; returns how many do.

    Left as they are: layers with DoRA, biases that train, or a base that is not linear or is in 8 bits.
    """
    fusible = [module for module in model.modules() if _fusible(module)]
    for module in fusible:
        module.forward = MethodType(_forward, module)
    return len(fusible)


def _fusible(module: Any) -> bool:
    from bitsandbytes.nn.modules import Linear4bit
    from peft.tuners.lora import LoraLayer

    if not isinstance(module, LoraLayer) or list(module.lora_A) != ["default"]:
        return False
    base = module.get_base_layer()
    if type(base) not in (torch.nn.Linear, Linear4bit) or module.lora_variant or module.lora_bias["default"]:
        return False
    return base.bias is None or not base.bias.requires_grad


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """In the place of a LoRA layer's own, which does as before where its adapter is switched off or merged."""
    result: torch.Tensor
    if layer.disable_adapters or layer.merged:
        result = type(layer).forward(layer, x)
        return result
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    device = x.device.type
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    dropout = layer.lora_dropout["default"]
    dropped = dropout(x) if layer.training and not isinstance(dropout, torch.nn.Identity) else None
    result = _Adapted.apply(x, dropped, a, b, layer.get_base_layer(), layer.scaling["default"], narrow)
    return result


class _Adapted(torch.autograd.Function):
    """`x` is (…, in), `dropped` the same behind dropout or None, `a` (r, in), `b` (out, r); returns (…, out).

    All is computed in the dtype `narrow`, as autocast would; autograd casts each gradient to its input's own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        base: Any,
        scale: float,
        narrow: torch.dtype,
    ) -> torch.Tensor:
        given = x.to(narrow)
        taken = given if dropped is None else dropped.to(narrow)
        result: torch.Tensor = base(given)
        rank = taken.flatten(0, -2) @ a.to(narrow).T
        result.view(-1, result.shape[-1]).addmm_(rank, b.to(narrow).T, alpha=scale)
        ctx.save_for_backward(taken, rank, a, b)
        ctx.base, ctx.scale, ctx.dropped = base, scale, dropped is not None
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        taken, rank, a, b = ctx.saved_tensors
        narrow, scale = taken.dtype, ctx.scale
        out, flat = grad.to(narrow).flatten(0, -2), taken.flatten(0, -2)
        by_rank = out @ b.to(narrow)
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = out @ _weight(ctx.base, narrow)
            if not ctx.dropped:
                grad_x.addmm_(by_rank, a.to(narrow), alpha=scale)
            grad_x = grad_x.view_as(taken)
        if ctx.needs_input_grad[1]:
            grad_dropped = (by_rank @ a.to(narrow)).mul_(scale).view_as(taken)
        grad_a = (by_rank.T @ flat).mul_(scale)
        grad_b = (out.T @ rank).mul_(scale)
        return grad_x, grad_dropped, grad_a, grad_b, None, None, None


def _weight(base: Any, narrow: torch.dtype) -> torch.Tensor:
    """Of a frozen layer, (out, in); one in 4 bits is unpacked for the while."""
    # FSDP's copy of a weight has lost its constants, the layer has them.
    state = getattr(base.weight, "quant_state", None) or getattr(base, "quant_state", None)
    weight: torch.Tensor = base.weight
    if state is None:
        return weight.to(narrow)
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight, state).to(narrow)
