"""The self-check of a loaded model: what makes training faster must change neither its loss nor its gradient.

Two short rows go through the model packed, as in training, and one by one, through its own attention and head. What
makes a difference is turned off, with a line: a model that nobody has seen trains slower, never wrong.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tasks.data.dataset.folder import IGNORED
from tasks.engine.errors import UserError
from tasks.training.distributed import from_leader
from tasks.training.job import Job
from tasks.training.speedups import BY_ROW

ROWS = (24, 16)  # tokens
LOSS, GRADIENT = 1e-4, 1e-3  # relative differences that are rounding, in float32
ROUNDING = 300  # times as much in 16 bits; rows that leak into each other move the gradient by half and more
RANDOM = ("dropout", "jitter")  # in the names of attributes by which modules draw random numbers while they train
OF_PICTURES = ("token_type_ids", "mm_token_type_ids")  # inputs of models that read pictures; 0 is text


@dataclass(frozen=True)
class Way:
    """How a batch goes through the model. The fastest: packed, and the loss computed where there are answers."""

    attention: str
    answers_only: bool = True
    packed: bool = True
    zeros: tuple[str, ...] = ()  # inputs to add

    @classmethod
    def of(cls, base: Any) -> "Way":
        """The fastest way for this transformers model."""
        import inspect

        accepted = inspect.signature(base.forward).parameters if hasattr(base.config, "text_config") else {}
        return cls(base.config._attn_implementation, zeros=tuple(each for each in OF_PICTURES if each in accepted))

    def slower(self, plain: str) -> "list[Way]":
        """What to try instead, the fastest first; `plain` is the model's own attention."""
        ways = [self, replace(self, answers_only=False), replace(self, answers_only=False, packed=False)]
        return [replace(way, attention=name) for way in ways for name in dict.fromkeys((self.attention, plain))][1:]

    def inputs(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the model for a packed batch as TRL's collator makes it: [1, tokens] and row boundaries."""
        if "behind" in batch and not self.shares(batch["input_ids"]):
            batch = unshared(batch)
        if self.packed and self.answers_only:
            following = batch["labels"][:, 1:]
            scored = (following[0] != IGNORED).nonzero().flatten()
            if not scored.numel():  # no answer: one position without a label gives a loss of zero
                scored = scored.new_zeros(1)
            batch = {**batch, "shift_labels": following[:, scored], "scored": scored}
        elif not self.packed:
            batch = _padded(batch)
        return batch | {name: batch["input_ids"].new_zeros(batch["input_ids"].shape) for name in self.zeros}

    def shares(self, ids: Any) -> bool:
        """Whether rows stand behind one copy of what they begin with; only by-row attention on a CPU knows it."""
        return self.packed and self.attention == BY_ROW and ids.device.type == "cpu"

    def about(self, fastest: "Way") -> str:
        """What is off, compared with the fastest way."""
        off = [
            f"{fastest.attention} attention ({self.attention} instead)" * (self.attention != fastest.attention),
            "answers-only logits" * (self.answers_only != fastest.answers_only),
            "packing (rows are padded instead)" * (self.packed != fastest.packed),
        ]
        return ", ".join(filter(None, off))


def share_beginnings(collate: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """TRL's collator for pieces of rows: the tokens of one that goes on from another are counted from there."""
    import torch

    def shared(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(examples)
        if "behind" not in examples[0]:
            return batch
        behind: list[int] = []
        for each in examples:
            behind += [at if at < 0 else at + len(behind) for at in each["behind"]]
        lengths = [length for each in examples for length in each["seq_lengths"]]
        before = torch.tensor([lengths[at] if at >= 0 else 0 for at in behind])
        moved = torch.repeat_interleave(before, torch.tensor(lengths))
        ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        return {
            **batch,
            "position_ids": batch["position_ids"] + moved,
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
            "behind": torch.tensor(behind),
        }

    return shared


def unshared(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with each row whole, its own copy of its beginning before it."""
    import torch

    lengths, behind = batch["cu_seq_lens_q"].diff().tolist(), batch["behind"].tolist()
    rows = [at for at in range(len(lengths)) if at not in set(behind)]
    whole = {}
    for name in ("input_ids", "labels", "position_ids"):
        parts = batch[name][0].split(lengths)
        whole[name] = [torch.cat([parts[behind[at]], parts[at]]) if behind[at] >= 0 else parts[at] for at in rows]
    sizes = torch.tensor([0, *map(len, whole["labels"])], device=batch["labels"].device)
    rest = {name: each for name, each in batch.items() if name not in ("behind", *whole)}
    ends, longest = sizes.cumsum(0).to(torch.int32), int(sizes.max())
    of_row = torch.arange(len(rows), dtype=torch.int32, device=sizes.device)
    rest["seq_idx"] = torch.repeat_interleave(of_row, sizes[1:])[None]
    rest |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
    return rest | {name: torch.cat(parts)[None] for name, parts in whole.items()}


def _padded(batch: dict[str, Any]) -> dict[str, Any]:
    """The rows of a packed batch as [rows, tokens], padded on the right."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = batch["cu_seq_lens_q"].diff().tolist()
    rows = {"input_ids": 0, "labels": IGNORED, "attention_mask": 0}
    whole = {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}
    return {name: pad_sequence(whole[name][0].split(lengths), True, fill) for name, fill in rows.items()}


def choose_way(trainer: Any, job: Job) -> Way:
    """The fastest way that gives the loss and the gradient of the plain one; the model is left set to it.

    Raises UserError if there is none.
    """
    import torch

    model: Any = trainer.model
    fastest: Way = trainer.way
    base = model.get_base_model()
    batch = _batch(trainer)
    trained = {each.dtype.itemsize for each in model.parameters() if each.requires_grad}
    rough = trainer.args.bf16 or trainer.args.fp16 or min(trained) < 4
    with _without_randomness(model):
        base.set_attn_implementation(base.plain_attention)
        plain = unshared(batch) if "behind" in batch else batch
        expected = _measure(trainer, lambda: _one_by_one(model, plain, fastest))
        error: Exception | None = None
        for way in (fastest, *fastest.slower(base.plain_attention)):
            base.set_attn_implementation(way.attention)
            try:
                found = _measure(trainer, lambda: _loss(model, way.inputs(batch)))  # noqa: B023
                differs = not from_leader(lambda: _same(expected, found, rough))  # noqa: B023
                error = None
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as failure:
                if isinstance(failure, torch.OutOfMemoryError):
                    raise
                error, differs = failure, True
            if not differs:
                break
    if error or (differs and not rough):  # in 16 bits the slowest way is the plain one, up to the order of sums
        found_text = f"{type(error).__name__}: {error}" if error else f"{found[0]:.4f}"
        raise UserError(
            f"{type(base).__name__} cannot be trained in batches: the loss of a row alone is {expected[0]:.4f}, and in "
            f"a batch {found_text}",
            "use a base model whose rows do not depend on each other, a decoder with attention",
        ) from error
    if way != fastest:
        job.say(f"the self-check finds another loss or gradient; off: {way.about(fastest)}")
    return way


def _batch(trainer: Any) -> dict[str, Any]:
    """Two rows of the first training tokens; the last third of each is the answer.

    Where beginnings are shared, the first row is one, and the second and a third go on from it.
    """
    first = trainer.train_dataset[0]["input_ids"]
    if "behind" in trainer.train_dataset[0]:
        ids = (list(first) * sum(ROWS))[: sum(ROWS)]
        pieces = (ROWS[0] // 2, ROWS[0] // 2, ROWS[1])
        labels = [IGNORED] * (pieces[0] + 4) + ids[pieces[0] + 4 : sum(pieces[:2])]
        labels += [IGNORED] * 6 + ids[sum(pieces[:2]) + 6 :]
        shared = {"input_ids": ids, "labels": labels, "seq_lengths": list(pieces), "behind": [-1, 0, 0]}
        return _moved(trainer, trainer.data_collator([shared]))
    ids = (list(first) * sum(ROWS))[: sum(ROWS)]
    places = [place for size in ROWS for place in (IGNORED,) * (size * 2 // 3) + (0,) * (size - size * 2 // 3)]
    labels = [place or token for place, token in zip(places, ids, strict=True)]
    return _moved(trainer, trainer.data_collator([{"input_ids": ids, "labels": labels, "seq_lengths": list(ROWS)}]))


def _moved(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    return {name: each.to(trainer.args.device) if hasattr(each, "to") else each for name, each in batch.items()}


def _measure(trainer: Any, loss_of: Callable[[], Any]) -> tuple[float, Any]:
    """Loss, and the gradient of the adapter as one vector; none of a sharded base, whose hooks expect a step."""
    import torch

    weights = [each for each in trainer.model.parameters() if each.requires_grad]
    dtype = torch.bfloat16 if trainer.args.bf16 else torch.float16
    mixed = trainer.args.bf16 or trainer.args.fp16
    with torch.autocast(trainer.args.device.type, dtype, enabled=mixed):
        loss = loss_of()
    if any(hasattr(each, "to_local") for each in trainer.model.parameters()):
        return float(loss.detach()), torch.zeros(1)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    vector = torch.cat([(torch.zeros_like(w) if g is None else g).float().flatten().cpu() for w, g in pairs])
    return float(loss.detach()), vector


def model_loss(model: Any, dtype: Any) -> float:
    """Of the same few tokens each time, in evaluation mode and without an adapter."""
    import torch

    ids = torch.arange(sum(ROWS), device=model.device)[None] * 7 % model.config.get_text_config().vocab_size
    training = model.training
    with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        logits = model.eval()(input_ids=ids, use_cache=False).logits[0, :-1].float()
    model.train(training)
    return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))


def is_near(loss: float, other: float) -> bool:
    """Up to the rounding of 16 bits; also for what is not finite."""
    return not abs(loss - other) > LOSS * ROUNDING * max(1.0, abs(loss))


def _loss(model: Any, inputs: dict[str, Any]) -> Any:
    """As TRL's trainer computes it, by its fused head."""
    output = model(**inputs, use_cache=False, fused_lm_head=True)
    return -output.log_probs.sum() / output.label_mask.sum()


def _one_by_one(model: Any, batch: dict[str, Any], way: Way) -> Any:
    """The mean loss of the answers' tokens, each row on its own, by the model's logits."""
    from torch.nn.functional import cross_entropy

    total: Any = 0
    count, lengths = 0, batch["cu_seq_lens_q"].diff().tolist()
    for ids, labels in zip(*(batch[name][0].split(lengths) for name in ("input_ids", "labels")), strict=True):
        added = {name: ids.new_zeros(1, len(ids)) for name in way.zeros}
        logits = model(input_ids=ids[None], use_cache=False, **added).logits[0, :-1].float()
        total = total + cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum")
        count += int((labels[1:] != IGNORED).sum())
    return total / count


def _same(expected: tuple[float, Any], found: tuple[float, Any], rough: bool) -> bool:
    """Also for what is not finite: the training finds out, and says why."""
    times = ROUNDING if rough else 1
    (loss, gradient), (other, another) = expected, found
    length = float(gradient.norm())
    if not (abs(loss) < float("inf") and length < float("inf")):
        return True
    near = abs(loss - other) <= LOSS * times * max(1.0, abs(loss))
    return near and float((gradient - another).norm()) <= GRADIENT * times * length + 1e-9


@contextmanager
def _without_randomness(model: Any) -> Iterator[None]:
    """In training mode, without what draws random numbers."""
    from torch.nn import Dropout

    training = model.training
    set_to_zero = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, float) and (isinstance(module, Dropout) or any(word in name for word in RANDOM))
    ]
    for module, name, _ in set_to_zero:
        setattr(module, name, 0.0)
    try:
        model.train()
        yield
    finally:
        for module, name, value in set_to_zero:
            setattr(module, name, value)
        model.train(training)
