"""Base models of random weights: ``python -m tests.bench._gpu_models NAME FOLDER``.

They take the time and the memory of trained ones. Weights are drawn on the card where there is one, and written shard
by shard, so that neither it nor main memory ever holds more than one. The tokenizer is that of the tiny base: its 3,072
ids are valid in every larger vocabulary.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.engine.code.source import ROOT

TOKENIZER = ROOT / "data/tiny-base"
SHARD = 2 << 30  # bytes
NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
MODELS = {  # transformers' kind, its sizes in the order of NAMES, and the words of its vocabulary
    "mistral-7b": ("Mistral", (4096, 32, 32, 8, 14336), 32_000),
    "llama-8b": ("Llama", (4096, 32, 32, 8, 14336), 128_256),
    "mistral-toy": ("Mistral", (64, 2, 2, 1, 160), 3_072),
    "llama-toy": ("Llama", (64, 2, 4, 2, 192), 4_096),
}


def make(name: str, folder: Path) -> Path:
    """Write config.json, *.safetensors in bfloat16 with their index, and a tokenizer; returns the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model = _without_weights(name)
    model.config.save_pretrained(folder)
    for each in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / each, folder)
    places: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(_shards(model)):
        file = f"model-{number:05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
        total += sum(weight.nbytes for weight in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def size(name: str) -> int:
    """Bytes of its weights."""
    return sum(weight.nbytes for weight in _without_weights(name).parameters())


def _without_weights(name: str) -> Any:
    import torch
    import transformers

    kind, sizes, words = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(
        **dict(zip(NAMES, sizes, strict=True)),
        vocab_size=words,
        max_position_embeddings=32_768,
        **({"sliding_window": None} if kind == "Mistral" else {}),
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        architectures=[f"{kind}ForCausalLM"],
        dtype="bfloat16",
    )
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def _shards(model: Any) -> Iterator[dict[str, Any]]:
    import torch

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shard: dict[str, Any] = {}
    for name, like in model.state_dict().items():
        if sum(weight.nbytes for weight in shard.values()) + like.nbytes > SHARD:
            yield shard
            shard = {}
        if like.dim() > 1:
            weight = torch.empty(like.shape, dtype=like.dtype, device=device).normal_(std=0.02)
        else:  # of a norm
            weight = torch.ones(like.shape, dtype=like.dtype)
        shard[name] = weight.cpu()
    yield shard


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
