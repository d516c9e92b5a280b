"""A base model of which each process holds a share: FSDP2, torch's fully_shard, beneath an adapter that is whole."""

from typing import Any

from tasks.training.processes.distributed import world


def shard(model: Any, device: str) -> float:
    """Shard the frozen base beneath a PEFT model, layer by layer; returns the share of its bytes that are here.

    `device` is "cuda" or "cpu".

    The base comes in main memory, whole in each process, and a GPU never holds more of it than its share and one layer
    (and, while a step goes on, the embeddings and the head): accelerate's way with 4-bit weights has all of it there
    once. 4-bit weights are packed into numbers of a floating dtype then, as torch shards no others
    (`bnb_4bit_quant_storage`, see tasks/models/model.py); bitsandbytes finds their scales in the layer.

    The adapter is left out, and DistributedDataParallel averages its gradients and takes no notice of the base. So a
    checkpoint is that of one process. What transformers itself shards, `from_pretrained(distributed_config=…)`, is not
    in 4 bits, and its trainer does not resume it.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    base = model.get_base_model()
    place = _here(device)
    mesh = init_device_mesh(device, (world(),))
    for layer in _layers(base):
        layer.to(place)
        fully_shard(layer, mesh=mesh, ignored_params=_trained(layer))
    for trained in _trained(base):
        trained.data = trained.data.to(place)
    fully_shard(base, mesh=mesh, reshard_after_forward=True, ignored_params=_trained(base))
    own = [name for name, each in (*model.named_parameters(), *model.named_buffers()) if not each.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, own)
    # Where accelerate looks whether a quantized model is on this process's GPU.
    base.hf_device_map = {"": place.index if device == "cuda" else device}
    frozen: list[Any] = [each for each in base.parameters() if not each.requires_grad]
    return float(sum(each.to_local().nbytes for each in frozen) / sum(each.nbytes for each in frozen))


def _here(device: str) -> Any:
    import torch

    return torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)


def _layers(base: Any) -> list[Any]:
    """The modules that transformers would never split over devices: the decoder's layers."""
    return [module for module in base.modules() if type(module).__name__ in base._no_split_modules]


def _trained(module: Any) -> set[Any]:
    return {parameter for parameter in module.parameters() if parameter.requires_grad}
