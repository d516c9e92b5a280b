"""Names in text, found by their letters' case: no model, English only."""

import re

from tasks.text.words import STOP_WORDS, normalise, sentences

_TOKEN = re.compile(r"[^\W_]+(?:[.&'’/-][^\W_]+)*")
_LINKS = re.compile(r"[.,;:!?()\[\]\"“”]")


def entities(text: str) -> list[str]:
    """Runs of capitalised words (``Lake Havasu City``), acronyms and codes (``NATO``, ``P-101A``), in order.

    A sentence's first word counts only if it is an acronym or a code, because its capital says nothing.
    """
    found: list[str] = []
    for sentence in sentences(normalise(text)):
        run: list[str] = []
        end = 0
        for position, match in enumerate(_TOKEN.finditer(sentence)):
            token = match.group()
            if run and _LINKS.search(sentence, end, match.start()):
                found.append(" ".join(run))
                run = []
            if _names(token, first=position == 0):
                run.append(token)
            elif run:
                found.append(" ".join(run))
                run = []
            end = match.end()
        if run:
            found.append(" ".join(run))
    return found


def _names(token: str, *, first: bool) -> bool:
    letters = sum(character.isalpha() for character in token)
    capitals = sum(character.isupper() for character in token)
    if not capitals:
        return False
    if capitals >= 2 or letters < len(token) and any(character.isdigit() for character in token):
        return True
    return token[0].isupper() and letters > 1 and not first and token.casefold() not in STOP_WORDS
