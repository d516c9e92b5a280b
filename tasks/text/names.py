"""Names in text, found by their letters' case: no model, English only."""

import re

from tasks.text.tokens import STOP_WORDS, normalise, sentences

_TOKEN = re.compile(r"[^\W_]+(?:[.&'’/-][^\W_]+)*")


def entities(text: str) -> list[str]:
    """Runs of capitalised words (``Lake Havasu City``), acronyms and codes (``NATO``, ``P-101A``), in order.

    A sentence's first word counts only if it is an acronym or a code, or if the whole sentence is a name:
    otherwise its capital says nothing.
    """
    return [name for sentence in sentences(normalise(text)) for name in _names(sentence)]


def _names(sentence: str) -> list[str]:
    names: list[str] = []
    end = -1  # of the last word of the name being read
    bare = not any(map(str.islower, sentence.split()))
    stop = -1
    for piece in sentence.split(" "):
        start, stop = stop + 1, stop + 1 + len(piece)
        if piece.islower():  # as most are
            continue
        for match in _TOKEN.finditer(sentence, start, stop):
            token = match.group()
            if not _is_name(token, opens=end < 0 and match.start() < 3 and not bare):
                continue
            if names and sentence[end : match.start()] == " ":
                names[-1] += " " + token
            else:
                names.append(token)
            end = match.end()
    return names


def _is_name(token: str, *, opens: bool) -> bool:
    if token[:1].isupper() and (len(token) == 1 or token[1:].islower()):
        return len(token) > 1 and not opens and token.casefold() not in STOP_WORDS
    return not token.isdigit() and any(map(str.isupper, token))
