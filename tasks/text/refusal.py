"""Refusals, recognised by their wording: the refusal sentence, and what models say in its place."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

from tasks.text.language import RefusalWords, language
from tasks.text.support import ContextView, read
from tasks.text.tokens import content_stems, normalise, sentences, stem, stop_words, words

_BRACKETS = re.compile(r"(?<=[\w.%°'\"]) ?\(([^()]*)\)")  # "12 kg (the passages do not say if with the motor)"


@lru_cache(maxsize=2)  # a row asks with its citations and without; contexts are freed while they are warm
def is_refusal(answer: str, sentence: str | None = None, context: ContextView | None = None) -> bool:
    """Whether an answer declines to answer, in the fixed refusal `sentence` or in words of its own.

    It does if it opens with a refusal, perhaps after an apology or a sentence about what the passages do hold, even if
    it answers afterwards (see `leaks`). An answer that first answers and then adds what the
    context leaves open does not, nor one whose "was not disclosed" the `context` says itself; without a context,
    what was not disclosed is taken for an answer.
    Patterns over the wording of a language: a very roundabout refusal is missed.
    """
    if sentence and _opens_with(answer, sentence):
        return True
    parts = [part for said in sentences(answer) for part in said.split(";")]
    if not any([_cued(part, position) for position, part in enumerate(parts)]):
        return False
    for position, said in enumerate(parts):
        plain = _plain(said)
        if _refuses(_pronoun_named(plain) if position else plain, context):
            return True
        if not _is_aside(plain) or _known().tells.search(plain):
            return False  # it speaks to the question
    return False


def leaks(answer: str, sentence: str | None = None, context: ContextView | None = None) -> bool:
    """Whether a refusal goes on to answer all the same: "Not stated in the context. However, it is often 16 bar."

    It does if, behind the refusal, something is left to check: see `claims`.
    """
    return is_refusal(answer, sentence, context) and bool(claims(answer, sentence, context))


def claims(answer: str, sentence: str | None = None, context: ContextView | None = None) -> list[str]:
    """The sentences of an answer that claim something about the world, and so can be checked against a context.

    Refusals and frames such as "According to the passage, " are left out. If the answer refuses, only what follows the
    refusal counts, in the same sentence after a "but" or in later ones, and only with at least three content words and
    not if it is a courtesy ("Please provide more details.").
    """
    if sentence and _opens_with(answer, sentence):
        found = [part for said in sentences(_behind(answer, sentence)) for part in _claiming(said, context)]
    elif is_refusal(answer, sentence, context):
        clauses = [clause for said in sentences(answer) for clause in _clauses(said, context)]
        refusing = [_refuses(_pronoun_named(_plain(clause)), context) for clause in clauses]
        first = refusing.index(True) if any(refusing) else len(clauses)
        found = [clause for at, clause in enumerate(clauses) if at > first and not refusing[at]]
    else:
        said = sentences(answer)
        return [_unframed(part) for each in said for part in _claiming(each, context)]
    return [part for part in found if len(content_stems(part)) >= 3 and not _is_polite(_plain(part))]


def _known() -> RefusalWords:
    return language().refusal


def _unframed(said: str) -> str:
    frame = re.match(_known().frame, said) if _names_source(said) else None
    return said[frame.end() :] if frame else said


def _names_source(said: str) -> bool:
    return not _known().groups["source"].isdisjoint(_cues(said))


def _pronoun_named(plain: str) -> str:
    """The sentence with a pronoun at its beginning spelt out."""
    return _known().pronoun.sub(_known().pronoun_stands_for + " ", plain)


def _is_polite(said: str) -> bool:
    """Whether what stands behind a refusal is a courtesy, or tells what the passages are about instead."""
    return re.search(_known().courtesy, said) is not None or (_is_aside(said) and not _known().turned.search(said))


def _is_aside(said: str) -> bool:
    """Whether a sentence says nothing on the question, so that a refusal may still follow."""
    if re.match(_known().opening, said):
        return True
    return _names_source(said) and re.match(_known().about_the_source, said) is not None


def _claiming(said: str, context: ContextView | None) -> list[str]:
    """A sentence as it is, or if some of its clauses or brackets refuse, the others."""
    if not _possible(_cues(said)):
        return [said]
    if "(" in said:
        said = _BRACKETS.sub(lambda aside: "" if _refuses(_plain(aside[1]), context) else aside[0], said)
    clauses = _clauses(said, context)
    kept = [clause for clause in clauses if not _refuses(_plain(clause), context)]
    return kept if len(kept) < len(clauses) else [said]


def _clauses(said: str, context: ContextView | None) -> list[str]:
    """A sentence in parts, each beginning with a "but" or the like; whole if it refuses across the parts."""
    clauses = _known().turn.split(said)
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
    known, it = _known(), _known().quotation_stands_for
    if '"' in text:
        text = known.quoted.sub(it, known.title.sub(it, text))
    text = known.first_person_title.sub(it + " ", known.label.sub("", text))
    if "," in text:
        text = known.aside.sub("", text)
    return " ".join(text.replace('"', " ").lower().split())


def _cued(said: str, position: int) -> bool:
    """Whether a part of an answer has the words that some pattern needs; other answers are not read further."""
    cues, known = _cues(said), _known()
    if position and not known.pronouns.isdisjoint(read(said).words[:2]):
        cues |= set(words(known.pronoun_stands_for)) & known.cues
    return bool(_possible(cues))


def _refuses(said: str, context: ContextView | None = None) -> bool:
    """Whether a sentence, as `_plain` gives it, refuses, alone or with more beside it."""
    known = _known()
    if known.conditional.match(said):
        return False
    for match in _wordings(said):
        concession = known.concession.match(said)
        before = said[: match.start()]
        conceded = concession is not None and match.end() <= concession.end()
        if not (conceded or _is_of_the_world(match, context)) and (
            not known.conjunction.search(before)
            or re.search(rf"\b{known.parts['source']}", before)
            or known.wish.match(before)
        ):
            return True
    return False


@lru_cache(maxsize=64)  # the sentences of an answer, asked about by several
def _cues(text: str) -> frozenset[str]:
    """The words of a text that some pattern needs."""
    return _known().cues.intersection(read(text).words)


@lru_cache(maxsize=64)
def _wordings(said: str) -> tuple[re.Match[str], ...]:
    """What is worded like a refusal."""
    return tuple([match for found in _possible(_cues(said)) for match in found(said)])


@lru_cache(maxsize=1 << 12)  # sentences hold few such words, and the same ones again and again
def _possible(cues: frozenset[str]) -> tuple[Callable[[str], Iterator[re.Match[str]]], ...]:
    """Searches for the wordings that need no other word groups than those of these words."""
    present = {name for name, group in _known().groups.items() if not group.isdisjoint(cues)}
    return tuple(re.compile(each.pattern).finditer for each in _known().wordings.values() if each.needs <= present)


def _is_of_the_world(match: re.Match[str], context: ContextView | None) -> bool:
    """Whether what looks like a refusal is said of the world: by the context itself or, in some wordings, perhaps."""
    if match.re.pattern in _known().of_the_world:
        return context is None or context.stems.issuperset(content_stems(match.group()))
    return context is not None and _says_itself(context, match.group())


def _says_itself(context: ContextView, wording: str) -> bool:
    """Whether the words that look like a refusal, and each negation with the word behind it, are the context's own."""
    said = words(wording)
    known, passed = _known(), stop_words()
    if known.speaker in said or any(word not in passed and stem(word) not in context.stems for word in said):
        return False
    negations = [(stem(word), stem(after)) for word, after in pairwise(said) if word in known.negations]
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
