"""A small tokenizer for each family of chat templates: those that TRL publishes, and a few forms written here."""

import re
from functools import cache
from pathlib import Path
from typing import Any

PASSAGES = ["The pressure limit of P-204 is 43 bar.", "The oil grade is VG 46.\nIt has two lines."]
QUERY = "What is the pressure limit?"
ANSWER = "43 bar, sheet P-204."
REFUSAL = "Not stated in the sheet."
ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<｜end▁of▁sentence｜>",
    "<|return|>",
    "[|endofturn|]",
    "</s>",
)
BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>")
PLAIN = {
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<think>",
    "</think>",
    "[INST]",
    "[/INST]",
}
OWN = Path(__file__).parent / "templates"  # in the forms that families publish, as far as a text needs them


@cache
def templates() -> dict[str, str]:
    import trl

    published = (Path(trl.__file__).parent / "chat_templates").glob("*.jinja")
    found = {path.stem: path for path in [*published, *OWN.glob("*.jinja")] if not path.stem.endswith("_training")}
    return {name: found[name].read_text() for name in sorted(found)}


def family_tokenizer(folder: Path, template: str, **settings: Any) -> None:
    """A byte-level BPE tokenizer that knows a template's control strings, and a config.json for AutoTokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    shown = re.findall(r"<[|｜/]?[A-Za-z_][\w▁:]*[|｜]?>|\[/?[A-Z_]+\]|\[\|\w+\|\]", template)
    known = PLAIN - ({"[INST]", "[/INST]"} if "<<SYS>>" in template else set())  # Llama 2 has them as plain text
    specials = [each for each in dict.fromkeys(shown) if "|" in each or "｜" in each or each in known]
    eos = next((end for end in ENDS if end in specials), "<eos>")
    specials = list(dict.fromkeys(["<pad>", *specials, eos]))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        [*PASSAGES, QUERY, ANSWER, REFUSAL] * 9,
        trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in specials],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bos = next((each for each in BEGINNINGS if each in specials), "<pad>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=eos, bos_token=bos, pad_token="<pad>", chat_template=template, **settings
    )
    tokenizer.save_pretrained(folder)
    LlamaConfig(vocab_size=len(tokenizer)).save_pretrained(folder)  # for Qwen2, AutoTokenizer has a splitter of its own
