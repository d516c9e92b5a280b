"""Control tokens of prompt templates: text that holds one could close a turn or open another."""

import re

CONTROL_TOKENS = (  # of Llama 2, Mistral, Gemma, Qwen and T5; those between bars are matched by their form
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>",
    "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]",
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
)  # fmt: skip
_CONTROL = re.compile(
    "|".join(map(re.escape, CONTROL_TOKENS))
    + r"|<[|｜][^<>|｜\s]{1,40}[|｜]>"  # <|eot_id|> of Llama 3, ChatML, Phi; <｜User｜> of DeepSeek
    + r"|<(?:unused|extra_id_|reserved_)\w{1,20}>"
)


def control_tokens(text: str) -> list[str]:
    """The control tokens in a text, in order, each once."""
    if "<" not in text and "[" not in text:  # most rows: two scans of a few dozen nanoseconds
        return []
    return list(dict.fromkeys(_CONTROL.findall(text)))
