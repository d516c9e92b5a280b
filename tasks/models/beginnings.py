"""Prompts that begin alike: what they have in common goes through the model once, and each goes on from there.

Questions about one passage share nine tenths of their tokens, behind the same instruction.
"""

from collections.abc import Container, Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from tasks.data.dataset.folder import alike

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Name = TypeVar("Name", bound=Hashable)


class Group(NamedTuple, Generic[Name]):
    """Prompts that begin with the same `shared` tokens; each has more."""

    shared: int
    names: list[Name]
    longest: int  # tokens behind what is shared

    def without(self, done: Container[Name]) -> "Group[Name]":
        return self._replace(names=[name for name in self.names if name not in done])


def batches(prompts: "Mapping[Name, np.ndarray]", room: int, batch_tokens: int) -> Iterator[list[Group[Name]]]:
    """Groups of similar length, the longest first, so that a batch too big for the memory fails at once.

    A batch has up to `batch_tokens` tokens, padding and `room` for each row's answer included, but at least one row.
    """
    batch: list[Group[Name]] = []
    for whole in sorted(_groups(prompts), key=lambda group: -group.shared - group.longest):
        most = max(1, batch_tokens // (whole.shared + whole.longest + room))
        for at in range(0, len(whole.names), most):
            group = whole._replace(names=whole.names[at : at + most])
            more = [*batch, group]
            width = max(each.shared for each in more) + max(each.longest for each in more) + room
            if batch and sum(len(each.names) for each in more) * width > batch_tokens:
                yield batch
                more = [group]
            batch = more
    if batch:
        yield batch


def _groups(prompts: "Mapping[Name, np.ndarray]") -> Iterator[Group[Name]]:
    """Those that have at least half in common; a lone one shares all but a token."""
    names = sorted(prompts, key=lambda name: prompts[name].astype(">i4").tobytes())
    ordered = [prompts[name] for name in names]
    for places, shared in alike(ordered, list(map(len, ordered))):
        yield Group(shared, [names[at] for at in places], max(len(ordered[at]) for at in places) - shared)


def begin(
    model: Any, prompts: "Mapping[Name, np.ndarray]", groups: list[Group[Name]], fill: int
) -> "tuple[Tensor, Tensor, Any]":
    """Token ids and mask of the prompts, rows in the order of the groups, and the cache of what is shared.

    Both parts are padded on the left, and masked: what the model computes for a row is what it computes for the prompt
    alone. The cache is None for a model that cannot go on behind padding.
    """
    import torch

    def padded(parts: "list[np.ndarray]") -> "tuple[Tensor, Tensor]":
        longest = max(map(len, parts))
        ids = torch.full((len(parts), longest), fill)
        mask = torch.zeros_like(ids)
        for row, part in enumerate(parts):
            ids[row, longest - len(part) :] = torch.from_numpy(part)
            mask[row, longest - len(part) :] = 1
        return ids.to(model.device), mask.to(model.device)

    ids, mask = padded([prompts[group.names[0]][: group.shared] for group in groups])
    told = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=1, return_dict_in_generate=True)
    owners = torch.tensor([at for at, group in enumerate(groups) for _ in group.names], device=model.device)
    cache = _repeated(told.past_key_values, owners)
    if cache is None:
        return *padded([prompts[name] for group in groups for name in group.names]), None
    rest, seen = padded([prompts[name][group.shared :] for group in groups for name in group.names])
    return torch.cat([ids[owners], rest], 1), torch.cat([mask[owners], seen], 1), cache


def _repeated(cache: Any, owners: "Tensor") -> Any:
    """The cache of rows that go on from these; None unless every layer keeps the keys of all that it has seen.

    A sliding window would count padding as tokens, and a state of fixed size has mixed it in.
    """
    from transformers.cache_utils import DynamicLayer

    class Roomy(DynamicLayer):
        """Grows by a quarter at a time: to copy all keys for each new token took half of an answer's time on a CPU."""

        room = 0
        held: "tuple[Tensor, ...]" = ()

        def update(
            self, key_states: "Tensor", value_states: "Tensor", *args: Any, **kwargs: Any
        ) -> "tuple[Tensor, Tensor]":
            new, start = (key_states, value_states), self.get_seq_length()
            end = start + key_states.shape[-2]
            if end > self.room:
                self.room = end + end // 4
                self.held = tuple(each.new_empty(*each.shape[:2], self.room, each.shape[3]) for each in new)
                for held, before in zip(self.held, (self.keys, self.values), strict=True):
                    assert before is not None
                    held[:, :, :start] = before
            for held, each in zip(self.held, new, strict=True):
                held[:, :, start:end] = each
            keys, values = (held[:, :, :end] for held in self.held)
            self.keys, self.values = keys, values
            return keys, values

    if not all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None])):
        return None
    cache.batch_select_indices(owners)
    for at, layer in enumerate(cache.layers):
        roomy = Roomy()
        roomy.lazy_initialization(layer.keys, layer.values)
        roomy.keys, roomy.values = layer.keys, layer.values
        cache.layers[at] = roomy
    return cache
