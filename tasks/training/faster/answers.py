"""TRL's trainer, which computes for answers alone what only they need."""

from typing import Any

from tasks.data.dataset.folder import IGNORED
from tasks.training.resuming import ResumingTrainer


class AnswerTrainer(ResumingTrainer):
    """Hands the head those hidden states only whose next token has a label: one in ten, with passages before answers.

    TRL does so itself where Triton is; elsewhere it scores every position, which is a quarter of a training of the tiny
    base. Nor does the last layer compute behind its keys and values for the others: the tiny base has five layers.

    Batches are free of padding, one row of all their tokens.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._scored: Any = None  # positions, of the pass that is under way, until the next: it may be recomputed
        self._tokens = 0  # in it
        adapted: Any = self.model
        decoder = adapted.get_base_model().base_model
        decoder.register_forward_pre_hook(self._begin, with_kwargs=True)
        decoder.register_forward_hook(self._end)
        for module in behind_attention(decoder):
            module.register_forward_pre_hook(self._gather)
            module.register_forward_hook(self._scatter)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        following = inputs["labels"][:, 1:]
        scored = (following[0] != IGNORED).nonzero().flatten()
        if not scored.numel():  # of no answer; one position without a label makes a loss of zero
            scored = scored.new_zeros(1)
        given = {**inputs, "shift_labels": following[:, scored], "scored": scored}
        return super().compute_loss(model, given, *arguments, **options)

    def _begin(self, _module: Any, _given: Any, named: dict[str, Any]) -> None:
        self._scored = named.get("scored")

    def _end(self, _module: Any, _given: Any, output: Any) -> Any:
        if self._scored is not None:
            output.last_hidden_state = output.last_hidden_state.index_select(1, self._scored)
        return output

    def _gather(self, _module: Any, given: tuple[Any, ...]) -> Any:
        if self._scored is None:
            return given
        hidden, *others = given
        self._tokens = hidden.shape[1]
        return hidden.index_select(1, self._scored), *others

    def _scatter(self, _module: Any, _given: Any, output: Any) -> Any:
        """Back to their places; the zeros elsewhere go nowhere."""
        if self._scored is None:
            return output
        return output.new_zeros(1, self._tokens, output.shape[-1]).index_copy(1, self._scored, output)


def behind_attention(decoder: Any) -> list[Any]:
    """The last layer's modules there, o_proj and MLP, if they are what they are in Llama; an MLP of experts is not."""
    layers = layers_of(decoder)
    if not layers:
        return []
    attention, mlp = getattr(layers[-1], "self_attn", None), getattr(layers[-1], "mlp", None)
    found = [getattr(attention, "o_proj", None), mlp if hasattr(mlp, "down_proj") else None]
    return [module for module in found if module is not None]


def layers_of(decoder: Any) -> list[Any]:
    """Empty for a decoder that does not keep them as Llama does."""
    return list(getattr(decoder, "layers", None) or [])
