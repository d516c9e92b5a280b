"""The base model and its tokenizer, loaded one way for training, answering and serving."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tasks.engine import RUNTIME, Config, Text
from tasks.engine.errors import UserError
from tasks.models.trust import code_of, naming, trusted

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
SMALL = 50_000_000  # weights


class ModelConfig(Config):
    """How the base model is held in memory and computed with."""

    quantization: Literal["nf4", "fp4", "none"] = Field(
        "nf4", description="4-bit weights by bitsandbytes (NF4 is QLoRA's), or 'none': the compute dtype."
    )
    double_quant: bool = Field(True, description="Quantize the quantization constants too: 0.4 bit less per weight.")
    compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="'auto': bfloat16 where the GPU has it, else float16; float32 on a CPU."
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto",
        description="'auto': FlashAttention 2 where it is installed and there is a GPU, else SDPA; "
        "eager for a model that has no SDPA.",
    )
    trust_remote_code: Text | None = Field(
        None,
        description="Run the Python code that comes with this base model: the SHA-256 of that code, which the error "
        "without it states. Read the code first: it may do whatever you may.",
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], RUNTIME] = Field(
        "auto", description="'cuda' refuses to start without a GPU; use it for a 7B model."
    )


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by name, from the headers of *.safetensors; the weights are not read.

    Raises UserError for a file that is not safetensors or is cut off.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(
                f"{path} is not a safetensors file, or is cut off: {error}", "copy or download it again"
            ) from None
    return shapes


def load_tokenizer(base: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer in the folder `base`, with a padding token. Its own Python code never runs.

    Raises UserError where there is none, or only a slow one.
    """
    from transformers import AutoTokenizer

    if not any((base / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        # transformers would return an empty one
        raise UserError(f"{base} holds no tokenizer.json", "put the base model's own tokenizer files there")
    with _with_remedy(base):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(base),
            local_files_only=True,
            trust_remote_code=False,
            mistral_format=False,  # mistral-common, where installed, would take over, and cannot tokenize batches
        )
    if not tokenizer.is_fast:
        raise UserError(
            f"{base}: the tokenizer {type(tokenizer).__name__} is written in Python, which is too slow",
            "use a base model with a tokenizer.json",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # usual practice: padding is masked, so any token will do
    return tokenizer


def load_base(base: Path, config: ModelConfig, *, sharded: bool = False) -> "PreTrainedModel":
    """The causal language model in the folder `base` (config.json, *.safetensors), in evaluation mode.

    It is on this process's current GPU if there is one, else on the CPU. With `sharded` it stays on the CPU, and 4-bit
    weights are stored as numbers of the compute dtype, because torch does not shard bytes.

    Raises UserError for missing files, an unknown architecture, and a config that asks for a GPU that is not there.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():  # its progress bar would fill a log file
        transformers_logging.disable_progress_bar()
    device = device_of(config)
    dtype = compute_dtype(config, device)
    attention = _attention(config, device)
    log.info("%s on %s: %s", base.name, device, dtype)
    with _with_remedy(base):
        quantization = _quantization(base, config, dtype, dtype if sharded else torch.uint8)
        loaded: Any = auto_class(base).from_pretrained(
            str(base),
            local_files_only=True,
            use_safetensors=True,  # a pickle can run code
            trust_remote_code=trusted(base, config.trust_remote_code),
            dtype=dtype,
            attn_implementation=attention,
            quantization_config=quantization,
            device_map={"": torch.cuda.current_device() if device == "cuda" and not sharded else "cpu"},
            output_loading_info=True,
        )
    model, found = loaded
    if missing := sorted(found["missing_keys"]):  # transformers would fill them with random numbers
        raise UserError(
            f"{base}: {len(missing)} weights are not in its *.safetensors files, such as {missing[0]}",
            "download the model again; a file is missing or broken",
        )
    if device == "cpu" and config.quantization != "none":
        _disable_repacking(model)
    evaluating: PreTrainedModel = model.eval()
    return evaluating


def load_frozen(base: Path, config: ModelConfig) -> Any:
    """As `load_base`, for passes without gradients: on a CPU with room in memory, 4-bit weights are unpacked here once.

    They are the same float32 numbers as those unpacked in each pass, so answers are the same. Four prompts of 200
    tokens, answered in 12, take SmolLM2-135M 5.7 s of one core instead of 7.7.
    """
    import psutil
    import torch

    model: Any = load_base(base, config)
    packed = config.quantization != "none" and model.device.type == "cpu"
    if packed and compute_dtype(config, "cpu") == torch.float32:
        needed = 4 * model.num_parameters()
        if 2 * needed <= psutil.virtual_memory().available:
            return unpack(model, torch.float32).eval()
    return model


def unpack(model: Any, dtype: "torch.dtype") -> Any:
    """The model with its 4-bit weights unpacked to the same numbers in `dtype`, frozen."""
    import torch

    unpacked = model.dequantize(dtype=dtype)
    for module in unpacked.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.requires_grad_(False)
    return unpacked


def auto_class(base: Path) -> Any:
    """The class that loads the base in this folder: of causal language models, or of those that read pictures, too."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto as auto

    kind = json.loads((base / "config.json").read_bytes()).get("model_type")
    if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind not in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return AutoModelForCausalLM
    return AutoModelForImageTextToText


def window_of(base: Path) -> int:
    """The most tokens that the base in this folder can see at once."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(base)).get_text_config()
    return getattr(config, "max_position_embeddings", None) or sys.maxsize


def _quantization(base: Path, config: ModelConfig, dtype: "torch.dtype", storage: "torch.dtype") -> Any:
    """What transformers is told about 4-bit weights, or about weights that come in 8 or 4 bits of another kind."""
    from transformers.utils.quantization_config import BitsAndBytesConfig, FineGrainedFP8Config, Mxfp4Config

    published = json.loads((base / "config.json").read_bytes()).get("quantization_config") or {}
    method = published.get("quant_method", "bitsandbytes")
    if method != "bitsandbytes":
        unpacked = {"fp8": FineGrainedFP8Config, "mxfp4": Mxfp4Config}
        if method not in unpacked:
            raise UserError(
                f"{base} comes quantized by {method}, which is not trained here",
                "name the model's folder with weights in 16 bits; they are quantized when they are loaded",
            )
        if config.quantization != "none":
            raise UserError(
                f"{base} comes in {method}, and weights are not quantized twice to {config.quantization}",
                "set train.model.quantization and answer.model.quantization to none (2 bytes a weight), or name the "
                "model's folder with weights in 16 bits",
            )
        return unpacked[method](dequantize=True)
    if config.quantization == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.quantization,
        bnb_4bit_use_double_quant=config.double_quant,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=storage,
    )


def _disable_repacking(model: "PreTrainedModel") -> None:
    """Stop bitsandbytes from repacking 4-bit weights for AVX512-BF16 at the first forward pass without gradients.

    The repacked layer has no backward pass: training after an evaluation would get wrong gradients, or fail. It is also
    slower for a small model: 284 answers of the tiny base take 5.5 s of CPU without it and 9.0 s with it.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def attach_adapter(model: "PreTrainedModel", adapter: Path) -> "torch.nn.Module":
    """The model with the PEFT adapter in the folder `adapter`, not merged: as it was trained."""
    from peft import PeftModel

    require_lora(adapter)
    try:
        return PeftModel.from_pretrained(model, str(adapter)).eval()
    except (RuntimeError, ValueError) as error:  # sizes or module names differ
        raise UserError(
            f"{adapter} does not fit this base model: {_first_line(error)}",
            "attach it to the base model it was trained on",
        ) from error


def require_lora(adapter: Path) -> None:
    """UserError unless the folder holds a LoRA adapter in safetensors.

    PEFT would unpickle an adapter_model.bin, and another kind of adapter (X-LoRA) loads what its config names.
    """
    if not (adapter / "adapter_model.safetensors").is_file():
        pickled = ", but an adapter_model.bin, whose pickle can run code" * (adapter / "adapter_model.bin").is_file()
        remedy = "name the folder of a PEFT adapter that was saved with safe_serialization=True"
        raise UserError(f"{adapter} holds no adapter_model.safetensors{pickled}", remedy)
    try:
        kind = json.loads((adapter / "adapter_config.json").read_bytes())["peft_type"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{adapter} holds no adapter_config.json of PEFT", "name the folder of a PEFT adapter"
        ) from None
    if kind != "LORA":
        raise UserError(f"{adapter} is an adapter of the kind {kind!r}", "only LoRA adapters are loaded")


def merge_adapter(model: Any) -> "torch.nn.Module":
    """The base with the adapter's update added to its weights, in their dtype: as it is served."""
    merged: torch.nn.Module = model.merge_and_unload(safe_merge=True).eval()
    return merged


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Without gradients; for a small model on a CPU with one thread, as its threads would mostly wait for each other.

    On two busy cores: 284 answers of the tiny base take 8 s with one thread, 28 to 60 s with two that spin while they
    wait, OpenMP's default, and 5 s with two that sleep; 832 short texts through MiniLM 2.8 s with one and 17.9 s with
    two. With one thread, answers do not depend on the number of cores either.
    """
    import torch

    threads = torch.get_num_threads()
    if model.device.type == "cpu" and sum(weight.numel() for weight in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def compute_dtype(config: ModelConfig, device: str) -> "torch.dtype":
    """The dtype of matrix products on `device`."""
    import torch

    if config.compute_dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.compute_dtype)
        return dtype
    if device == "cpu":
        # NF4, tiny base, 2 × 1,024 tokens forward and backward: 0.6 s of CPU, in bfloat16 1.1 (on AVX512-BF16, too)
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16  # it does not overflow
    return torch.float16


def device_of(config: ModelConfig) -> str:
    import torch

    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "model.device is cuda, and this machine has no CUDA device that torch can use",
            "run it on a GPU machine with a CUDA build of torch, or set device: auto and a smaller base model",
        )
    return config.device


def _attention(config: ModelConfig, device: str) -> str | None:
    """None: transformers takes SDPA, or eager for a model without it."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    usable = device == "cuda" and is_flash_attn_2_available()
    if config.attention == "auto":
        return "flash_attention_2" if usable else None
    if config.attention == "flash_attention_2" and not usable:
        raise UserError(
            f"model.attention is flash_attention_2, which cannot run on {device} here",
            "install flash-attn on a machine with a GPU, or set attention: auto",
        )
    return config.attention


@contextmanager
def _with_remedy(base: Path) -> Iterator[None]:
    """Raise errors of a model folder as UserErrors with a remedy."""
    if not (base / "config.json").is_file():
        remedy = "name a folder with config.json, tokenizer.json and *.safetensors"
        raise UserError(f"{base} is not a base model: it holds no config.json", remedy)
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError, RuntimeError) as error:
        if "out of memory" in str(error) or "allocate memory" in str(error):
            raise  # tasks/training/failures.py explains it
        message = _first_line(error)
        if "trust_remote_code" in str(error):
            message = "it needs its own Python code, which runs only if it is named"
            remedy = f"use a model that transformers knows, or read {', '.join(code_of(base))} and {naming(base)}"
        elif "safetensors" in message:
            remedy = "convert the weights with save_pretrained; pickled weights are refused because they can run code"
        elif "attn_implementation" in str(error) or "attention implementation" in message:
            remedy = "set train.model.attention and answer.model.attention to auto"
        elif "Unrecognized configuration class" in message:
            message, remedy = "it is no model that answers in text", "use an instruct model, a causal language model"
        elif "architecture" in message or "model type" in message or "model_type" in message:
            remedy = "use a causal language model that this version of transformers knows, or upgrade transformers"
        elif isinstance(error, ImportError):
            remedy = "install what is missing"
        else:
            remedy = "download the model again; a file is missing or broken"
        raise UserError(f"{base} cannot be loaded: {message}", remedy) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
