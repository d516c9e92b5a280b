"""What templates and wrong decodings leave behind in a text."""

import re

from tasks.text.cached import pattern

CONTROL_TOKENS = (  # of Llama 2, Mistral, Gemma, Qwen and T5; those between bars are matched by their form
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>",
    "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]",
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
)  # fmt: skip
_CONTROL = pattern(
    "|".join(map(re.escape, CONTROL_TOKENS))
    + r"|<[|｜][^<>|｜\s]{1,40}[|｜]>"  # <|eot_id|> of Llama 3, ChatML, Phi; <｜User｜> of DeepSeek
    + r"|<(?:unused|extra_id_|reserved_)\w{1,20}>"
)
_STRUCK = pattern(r"(?<=\S)(\s*)<s>(?!\s*\[INST\])[^<>]*</s>|<s>[^<>]*</s>(?=\s*[^\s<])")  # HTML: struck out
_THOUGHT = pattern(r"</?(?:thinking|thoughts?|reasoning|reflection|scratchpad|analysis)>", re.I)
# The first bytes of UTF-8 read as Windows-1252, Windows-1251, Mac Roman or code page 437, and what may follow them.
_SUSPECT = pattern(
    "[\u00c2-\u00f4√├┬Γ¬‚РСвГ][\u0080-\u00bf–—‘-„†‡•…‰‹›€™Œœ\u0160\u0161\u0178\u017d\u017e\u0192ˆ˜©Ä\u0402-\u040f\u0452-\u045fҐґ]"
)
_OTHER_SCRIPT = pattern("[\u0530-\u1fff\u2c80-\ud7ff\uf900-\ufffc]")  # letters that no byte is read as


def control_tokens(text: str) -> list[str]:
    """The control tokens in a text, in order, each once. What HTML strikes out by ``<s>…</s>`` has none."""
    if "<" not in text and "[" not in text:  # most rows: two scans of a few dozen nanoseconds
        return []
    if "<s>" in text:
        text = _STRUCK.sub("", text)
    return list(dict.fromkeys(_CONTROL.findall(text)))


def thoughts(answer: str) -> list[str]:
    """The marks around what a model thinks before it answers, each once."""
    return list(dict.fromkeys(_THOUGHT.findall(answer))) if "<" in answer else []


def misdecoded(text: str) -> str | None:
    """What in a text comes from a wrong decoding, and what it was; None for nothing.

    By ftfy's heuristic (Speer 2019), where a suspect pair of characters makes it worth its 300 µs. A text in another
    script that holds a few such places was decoded right, and quotes something that was not.
    """
    if "\0" in text:
        return "a NUL character"
    if text.isascii():
        return None
    if lost := text.count("\ufffd"):
        return None if len(_OTHER_SCRIPT.findall(text)) > 100 * lost else "U+FFFD, for bytes that were no character"
    if not _SUSPECT.search(text):
        return None
    from ftfy import fix_encoding
    from ftfy.badness import BADNESS_RE

    found = BADNESS_RE.search(text)
    if not found or len(_OTHER_SCRIPT.findall(text)) > len(BADNESS_RE.findall(text)):
        return None
    word = re.search(r"\S*$", text[: found.start()])[0] + re.match(r"\S*", text[found.start() :])[0]  # type: ignore[index]
    right = fix_encoding(word)
    return f"{word}, which may have been {right}" if right != word else f"{found[0]} in {word}"
