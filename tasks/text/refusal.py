"""Refusals, recognised by their wording: the fixed sentence, and what models say in its place."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

from tasks.text.support import ContextView, read
from tasks.text.tokens import STOP_WORDS, content_stems, normalise, sentences, stem, words
from tasks.text.wordings import CLAUSE, GROUPS, NEWS_OF_THE_WORLD, SOURCE, THE_SOURCE, WORDINGS, gap

_PATTERNS = [(frozenset(needs.split()), pattern) for needs, pattern in WORDINGS.values()]
_OF_THE_WORLD = frozenset(pattern for _, pattern in NEWS_OF_THE_WORLD.values())
_NEEDED = frozenset().union(*GROUPS.values())
_OPENING = (  # what may stand before a refusal and says nothing on the question itself
    r"^(?:thank|hello|hi\b|hey\b|sure\b|okay|ok\b|hmm|great|good question|let me|that is a|after|yes, i can help"
    r"|(?:could|can|would) you .*(?:context|information|details?|clarif\w+|passages?)|please (?:provide|share|give"
    r"|clarify))"
)
_OF_THE_SOURCE = (  # the same, of what the passages are about
    rf"^{CLAUSE}{THE_SOURCE} {gap(5)}(?:discuss|describ|mention|talk|focus|cover|provid|contain|is\b|are\b|give"
    r"|list|expla|refer|deal|relat|include|speak|state|say|outline|present|address|seem|appear)"
)
_COURTESY = (
    r"\b(?:please|let me know|if you|feel free|you (?:can|could|may|might|should|will|would)|happy to|glad to|sorry"
    r"|thank|i (?:recommend|suggest|would need|need)|apologi[sz]e|consult|refer to|check the"
    r"|(?:more|further|additional) (?:information|context|details?))\b"
)
_TURN = re.compile(r"[,;:–—-]\s*(?=(?:but|however|although|though|yet|nevertheless|that said)\b)", re.IGNORECASE)
_FRAME = (
    r"(?i)^(?:(?:based on|according to|as (?:\w+ )?(?:stated|mentioned|described|noted|specified) in|from|in) "
    rf"{THE_SOURCE}(?: \w{{1,3}})?,? |{THE_SOURCE}(?: \d+)? (?:also )?(?:states|mentions|says|indicates|notes"
    r"|explains|specifies)(?: that)? )"
)
_TELLS = re.compile(r"^(?!.*\bonly\b).*(?: that |\w: )")  # what the passages say, which may be the answer
_PRONOUNS = frozenset(["it", "they", "these", "this", "none", "neither"])
_PRONOUN = re.compile(  # the passages, named just before
    r"^(?:(?:however|but|yet|and),? )?(?:(?:it|they|these|this)\b ?|(?=(?:none|neither) of (?:them|these|those)\b))"
)
_CONJUNCTION = re.compile(r"\w,? (?:but|although|though|however|yet)\b")  # something was said before it
_WISH = re.compile(r"i(?:'d| would| wish| want)\b|unfortunately\b")
_NAMES_SOURCE = rf"\b{SOURCE}"
_CONCESSION = re.compile(
    r"^(?:although|though|even though|while|whilst) ([^,]*), (?!it |they |the (?:passage|text|context|document)"
    r"|this )"
)
_ASIDES = re.compile(r", (?:however|though|unfortunately|therefore|as such|sadly),")
_BRACKETS = re.compile(r"(?<=[\w.%°'\"]) ?\(([^()]*)\)")  # "12 kg (the passages do not say if with the motor)"
_TITLE = re.compile(r'"(?:[A-Z][\w\']*[^\w"]*(?:(?:of|the|an?|in|to|me|and|is|with|for|you)\W+)*){2,}"(?=\W*\s\w)')
_QUOTED = re.compile(r'(?<=\w )"[^"]*\bI\b[^"]*"')  # said by somebody else
_FIRST_PERSON_TITLE = re.compile(r"\bI (?=[A-Z][a-z]+(?:'t|not)?\b)|\bI'm (?=[A-Z])")  # I Can't Tell You Why
_NEGATION = frozenset(["no", "not", "t", "none", "nothing", "never", "neither", "cannot"])


@lru_cache(maxsize=2)  # a row asks with its citations and without; contexts are freed while they are warm
def is_refusal(answer: str, sentence: str | None = None, context: ContextView | None = None) -> bool:
    """Whether an answer declines to answer, in the fixed refusal `sentence` or in words of its own.

    It does if it opens with a refusal, be it after an apology or a sentence about what the passages do hold, and
    also if it answers afterwards all the same (see `leaks`). An answer that first answers and then adds what the
    context leaves open does not, nor one whose "was not disclosed" the `context` says itself; without a context,
    what was not disclosed is taken for an answer.
    Patterns over English wording: a very roundabout refusal is missed.
    """
    if sentence and _opens_with(answer, sentence):
        return True
    parts = [part for said in sentences(answer) for part in said.split(";")]
    if not any([_cued(part, position) for position, part in enumerate(parts)]):
        return False
    for position, said in enumerate(parts):
        plain = _plain(said)
        if _refuses(_PRONOUN.sub("the passages ", plain) if position else plain, context):
            return True
        if not _is_aside(plain) or _TELLS.search(plain):
            return False  # it speaks to the question
    return False


def leaks(answer: str, sentence: str | None = None, context: ContextView | None = None) -> bool:
    """Whether a refusal goes on to answer all the same: "Not stated in the context. However, it is often 16 bar."

    It does if, behind the refusal, something is left to check: see `claims`.
    """
    return is_refusal(answer, sentence, context) and bool(claims(answer, sentence, context))


def claims(answer: str, sentence: str | None = None, context: ContextView | None = None) -> list[str]:
    """The sentences of an answer that claim something about the world, and so can be checked against a context.

    Without refusals, and without frames such as "According to the passage, ". Of an answer that refuses, only what
    comes behind the refusal, in the same sentence after a "but" or in later ones, if it has at least three content
    words and is no courtesy ("Please provide more details.").
    """
    if sentence and _opens_with(answer, sentence):
        found = [part for said in sentences(_behind(answer, sentence)) for part in _claiming(said, context)]
    elif is_refusal(answer, sentence, context):
        clauses = [clause for said in sentences(answer) for clause in _clauses(said, context)]
        refusing = [_refuses(_PRONOUN.sub("the passages ", _plain(clause)), context) for clause in clauses]
        first = refusing.index(True) if any(refusing) else len(clauses)
        found = [clause for at, clause in enumerate(clauses) if at > first and not refusing[at]]
    else:
        said = sentences(answer)
        return [_unframed(part) for each in said for part in _claiming(each, context)]
    return [part for part in found if len(content_stems(part)) >= 3 and not _is_polite(_plain(part))]


def _unframed(said: str) -> str:
    frame = None if GROUPS["source"].isdisjoint(_telling(said)) else re.match(_FRAME, said)
    return said[frame.end() :] if frame else said


def _is_polite(said: str) -> bool:
    """Whether what stands behind a refusal is a courtesy, or tells what the passages are about instead."""
    return re.search(_COURTESY, said) is not None or (
        _is_aside(said) and " that " not in said and not said.startswith(("however", "but", "yet"))
    )


def _is_aside(said: str) -> bool:
    """Whether a sentence says nothing on the question, so that a refusal may still follow."""
    if re.match(_OPENING, said):
        return True
    return not GROUPS["source"].isdisjoint(_telling(said)) and re.match(_OF_THE_SOURCE, said) is not None


def _claiming(said: str, context: ContextView | None) -> list[str]:
    """A sentence as it is, or if some of its clauses or brackets refuse, the others."""
    if not _possible(_telling(said)):
        return [said]
    if "(" in said:
        said = _BRACKETS.sub(lambda aside: "" if _refuses(_plain(aside[1]), context) else aside[0], said)
    clauses = _clauses(said, context)
    kept = [clause for clause in clauses if not _refuses(_plain(clause), context)]
    return kept if len(kept) < len(clauses) else [said]


def _clauses(said: str, context: ContextView | None) -> list[str]:
    """A sentence in parts, each beginning with a "but" or the like; whole if it refuses across the parts."""
    clauses = _TURN.split(said)
    if len(clauses) == 1:
        return clauses
    across = _refuses(_plain(said), context) and not any(_refuses(_plain(clause), context) for clause in clauses)
    return [said] if across else clauses


@lru_cache(maxsize=64)
def _plain(said: str) -> str:
    text = said.replace(" n't", "n't")
    if not text.isascii():
        text = normalise(text).replace("’", "'").replace(" n't", "n't").replace("“", '"').replace("”", '"')
    if "(" in text:
        text = _BRACKETS.sub("", text)
    if '"' in text:
        text = _QUOTED.sub("it", _TITLE.sub("it", text))
    if ":" in text[:12]:
        text = re.sub(r"^\s*(?:answer|response|a)\s*:\s*(?=\S)", "", text, flags=re.IGNORECASE)
    if "I" in text:
        text = _FIRST_PERSON_TITLE.sub("it ", text)
    if "," in text:
        text = _ASIDES.sub("", text)
    return " ".join(text.replace('"', " ").lower().split())


def _cued(said: str, position: int) -> bool:
    """Whether the words stand in a part of an answer that some pattern needs; other answers are spared the reading."""
    telling = _telling(said)
    if position and not _PRONOUNS.isdisjoint(read(said).words[:2]):
        telling |= {"passages"}
    return bool(_possible(telling))


def _refuses(said: str, context: ContextView | None = None) -> bool:
    """Whether a sentence, as `_plain` gives it, refuses, alone or with more beside it."""
    if said.startswith(("if ", "partially", "partly")) and " i " not in said:
        return False
    for match in _wordings(said):
        concession = _CONCESSION.match(said)
        before = said[: match.start()]
        told = _is_told(match, context)
        conceded = concession is not None and match.end() <= concession.end()
        if not (told or conceded) and (
            not _CONJUNCTION.search(before) or re.search(_NAMES_SOURCE, before) or _WISH.match(before)
        ):
            return True
    return False


@lru_cache(maxsize=64)  # the sentences of an answer, asked about by several
def _telling(text: str) -> frozenset[str]:
    """Its words that some pattern needs."""
    return _NEEDED.intersection(read(text).words)


@lru_cache(maxsize=64)
def _wordings(said: str) -> tuple[re.Match[str], ...]:
    """What is worded like a refusal."""
    return tuple([match for found in _possible(_telling(said)) for match in found(said)])


@lru_cache(maxsize=1 << 12)  # sentences hold few such words, and the same ones again and again
def _possible(telling: frozenset[str]) -> tuple[Callable[[str], Iterator[re.Match[str]]], ...]:
    """What looks for the patterns that need no other words of `GROUPS` than these."""
    present = {name for name, group in GROUPS.items() if not group.isdisjoint(telling)}
    return tuple(re.compile(pattern).finditer for needs, pattern in _PATTERNS if needs <= present)


def _is_told(match: re.Match[str], context: ContextView | None) -> bool:
    """Whether what looks like a refusal is said of the world: by the context itself or, in some wordings, perhaps."""
    if match.re.pattern in _OF_THE_WORLD:
        return context is None or context.stems.issuperset(content_stems(match.group()))
    return context is not None and _says_itself(context, match.group())


def _says_itself(context: ContextView, wording: str) -> bool:
    """Whether the words that look like a refusal, and each negation with the word behind it, are the context's own."""
    said = words(wording)
    if "i" in said or any(word not in STOP_WORDS and stem(word) not in context.stems for word in said):
        return False
    negations = [(stem(word), stem(after)) for word, after in pairwise(said) if word in _NEGATION]
    return bool(content_stems(wording)) and all(pair in context.bigrams for pair in negations)


def _opens_with(answer: str, sentence: str) -> bool:
    opening = read(sentence).words
    return read(answer).words[: len(opening)] == opening


def _behind(answer: str, sentence: str) -> str:
    """The answer behind its first words, as many as the sentence has."""
    end = 0
    for _, match in zip(words(sentence), re.finditer(r"[^\W_]+", answer), strict=False):
        end = match.end()
    return answer[end:].lstrip(" .!,;:–—-")
