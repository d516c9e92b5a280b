"""Refusals, recognised by their wording: the refusal sentence, and what models say in its place."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

from tasks.text.cached import pattern
from tasks.text.detect import detect, is_foreign
from tasks.text.language import ENGLISH, language
from tasks.text.reading import read, read_sentences
from tasks.text.support import ContextView
from tasks.text.tokens import content_stems, fold, normalise, sentences, stem, stop_words, words

_RUN = pattern(r"[^\W_]+")
_SEMICOLON = pattern(r"[;؛；]|(?<=\w)·\s")  # the last one is the Greek
_BRACKETS = pattern(r"(?<=[\w.%°'\"]) ?\(([^()]*)\)")  # "12 kg (the passages do not say if with the motor)"


def is_refusal(
    answer: str,
    sentence: str | None = None,
    context: ContextView | None = None,
    code: str = ENGLISH,
    *,
    beside: ContextView | None = None,
) -> bool:
    """Whether an answer declines to answer, in the fixed refusal `sentence` or in words of its own.

    It does if it opens with a refusal, perhaps after an apology or a sentence about what the passages do hold, even if
    it answers afterwards (see `leaks`). An answer that first answers and then adds what the
    context leaves open does not, nor one whose "was not disclosed" the `context` says itself; without a context,
    what was not disclosed is taken for an answer.
    Patterns over the wording of a language: a very roundabout refusal is missed. `beside`: a context that only tells
    what language to expect, which saves telling it from the answer's words.
    """
    return _refused_in(answer, sentence, context, code, beside) is not None


@lru_cache(maxsize=2)  # a row asks with its citations and without; contexts are freed while they are warm
def _refused_in(
    answer: str, sentence: str | None, context: ContextView | None, code: str, beside: ContextView | None = None
) -> str | None:
    """The language whose wordings an answer refuses in: its context's, English, or the one that it is in itself."""
    code = context.code if context else code
    if (sentence and _opens_with(answer, sentence, code)) or _Reading(code, context).refuse(answer):
        return code
    if code != ENGLISH:
        other = ENGLISH
    elif not (view.is_foreign(answer) if (view := context or beside) else is_foreign(answer, code)):
        return None
    else:
        other = detect(answer)
    return other if _Reading(other, context).refuse(answer) else None


def leaks(answer: str, sentence: str | None = None, context: ContextView | None = None, code: str = ENGLISH) -> bool:
    """Whether a refusal goes on to answer all the same: "Not stated in the context. However, it is often 16 bar."

    It does if, behind the refusal, something is left to check: see `claims`.
    """
    return is_refusal(answer, sentence, context, code) and bool(claims(answer, sentence, context, code))


def claims(
    answer: str, sentence: str | None = None, context: ContextView | None = None, code: str = ENGLISH
) -> list[str]:
    """The sentences of an answer that claim something about the world, and so can be checked against a context.

    Refusals and frames such as "According to the passage, " are left out. If the answer refuses, only what follows the
    refusal counts, in the same sentence after a "but" or in later ones, and only with at least three content words and
    not if it is a courtesy ("Please provide more details.").
    """
    refused = _refused_in(answer, sentence, context, code)
    code = refused or (context.code if context else code)
    reading = _Reading(code, context)
    if sentence and _opens_with(answer, sentence, code):
        found = [part for said in sentences(_behind(answer, sentence), code) for part in reading.claiming(said)]
    elif refused:
        clauses = [clause for said in sentences(answer, code) for clause in reading.clauses(said)]
        refusing = [reading.refuses(reading.pronoun_named(_plain(clause, code))) for clause in clauses]
        first = refusing.index(True) if any(refusing) else len(clauses)
        found = [clause for at, clause in enumerate(clauses) if at > first and not refusing[at]]
    else:
        said = sentences(answer, code)
        return [reading.unframed(part) for each in said for part in reading.claiming(each)]
    return [part for part in found if len(content_stems(part, code)) >= 3 and not reading.is_polite(_plain(part, code))]


class _Reading:
    """Sentences of one language, read beside the context or none, for what refuses and what claims."""

    def __init__(self, code: str, context: ContextView | None) -> None:
        self.code, self.context, self.known = code, context, language(code).refusal

    def refuse(self, answer: str) -> bool:
        """Whether an answer opens with a refusal, but for what says nothing on the question."""
        if not self.cued(answer, None):
            return False
        parts = [part for said in read_sentences(answer, self.code) for part in _SEMICOLON.split(said)]
        if not any([self.cued(part, 2 * bool(position)) for position, part in enumerate(parts)]):
            return False
        for position, said in enumerate(parts):
            plain = _plain(said, self.code)
            if self.refuses(self.pronoun_named(plain) if position else plain):
                return True
            if not self.is_aside(plain) or self.known.tells.search(plain):
                return False  # it speaks to the question
        return False

    def unframed(self, said: str) -> str:
        frame = re.match(self.known.frame, said) if self.names_source(said) else None
        return said[frame.end() :] if frame else said

    def names_source(self, said: str) -> bool:
        source = self.known.groups.get("source")
        return source is None or not source.isdisjoint(_cues(said, self.code))

    def pronoun_named(self, plain: str) -> str:
        """The sentence with a pronoun at its beginning spelt out."""
        return self.known.pronoun.sub(self.known.pronoun_stands_for + " ", plain)

    def is_polite(self, said: str) -> bool:
        """Whether what stands behind a refusal is a courtesy, or tells what the passages are about instead."""
        return re.search(self.known.courtesy, said) is not None or (
            self.is_aside(said) and not self.known.turned.search(said)
        )

    def is_aside(self, said: str) -> bool:
        """Whether a sentence says nothing on the question, so that a refusal may still follow."""
        if re.match(self.known.opening, said):
            return True
        return self.names_source(said) and re.match(self.known.about_the_source, said) is not None

    def claiming(self, said: str) -> list[str]:
        """A sentence as it is, or if some of its clauses or brackets refuse, the others."""
        if not _possible(_cues(said, self.code), self.code):
            return [said]
        if "(" in said:
            said = _BRACKETS.sub(lambda aside: "" if self.refuses(_plain(aside[1], self.code)) else aside[0], said)
        clauses = self.clauses(said)
        kept = [clause for clause in clauses if not self.refuses(_plain(clause, self.code))]
        return kept if len(kept) < len(clauses) else [said]

    def clauses(self, said: str) -> list[str]:
        """A sentence in parts, each beginning with a "but" or the like; whole if it refuses across the parts."""
        clauses = self.known.turn.split(said)
        if len(clauses) == 1:
            return clauses
        across = self.refuses(_plain(said, self.code)) and not any(
            self.refuses(_plain(clause, self.code)) for clause in clauses
        )
        return [said] if across else clauses

    def cued(self, said: str, opening: int | None) -> bool:
        """Whether a text has the words that some pattern needs, a pronoun among the first ones spelt out."""
        cues, known = _cues(said, self.code), self.known
        if not known.pronouns.isdisjoint(read(said, self.code).words[:opening]):
            cues |= set(words(known.pronoun_stands_for, self.code)) & known.cues
        return bool(_possible(cues, self.code))

    def refuses(self, said: str) -> bool:
        """Whether a sentence, as `_plain` gives it, refuses, alone or with more beside it."""
        known = self.known
        if not _possible(_cues(said, self.code), self.code):
            return False
        if known.conditional.match(said) or known.deeds.match(said):
            return False
        if self.context and self.context.quotes(said, known.speaker):
            return False
        if according := re.match(known.according, said):
            said = said[according.end() :]
        for match in _wordings(said, self.code):
            concession = known.concession.match(said)
            before = said[: match.start()]
            conceded = concession is not None and match.end() <= concession.end()
            turn = known.conjunction.search(before)  # "The pump has 5 bar, but the sheet does not say why" answers
            if not (conceded or self.reports(match) or self.is_of_the_world(match)) and (
                not turn or re.search(rf"\b{known.parts['source']}", before[: turn.start()]) or known.wish.match(before)
            ):
                return True
        return False

    def reports(self, match: re.Match[str]) -> bool:
        """Whether the passages are said to tell something, and what is negated stands behind: "says that … not"."""
        said, negations = match.group(), self.known.negations
        if not (told := self.known.tells.search(said)):
            return False
        before, behind = words(said[: told.start()], self.code), words(said[told.start() :], self.code)
        return negations.isdisjoint(before) and not negations.isdisjoint(behind)

    def is_of_the_world(self, match: re.Match[str]) -> bool:
        """Whether what looks like a refusal is said of the world: by the context or, in some wordings, perhaps."""
        if match.re.pattern in self.known.of_the_world:
            said = content_stems(match.group(), self.code)
            return self.context is None or self.context.stems.issuperset(said)
        return self.context is not None and self.says_itself(self.context, match.group())

    def says_itself(self, context: ContextView, wording: str) -> bool:
        """Whether the words that refuse, and each negation with the word behind it, are the context's own."""
        code, known = self.code, self.known
        said, passed = words(wording, code), stop_words(code)
        if known.speaker in said or any(word not in passed and stem(word, code) not in context.stems for word in said):
            return False
        negations = [(stem(word, code), stem(after, code)) for word, after in pairwise(said) if word in known.negations]
        return bool(content_stems(wording, code)) and all(context.pairs_held(negations))


@lru_cache(maxsize=64)
def _plain(said: str, code: str = ENGLISH) -> str:
    text = said.replace(" n't", "n't")
    if not text.isascii():
        text = normalise(text).replace("’", "'").replace(" n't", "n't").replace("“", '"').replace("”", '"')
    if "(" in text:
        text = _BRACKETS.sub("", text)
    known = language(code).refusal
    it = known.quotation_stands_for
    if '"' in text:
        text = known.quoted.sub(it, known.title.sub(it, text))
    text = known.first_person_title.sub(it + " ", known.label.sub("", text))
    if "," in text:
        text = known.aside.sub("", text)
    text = text.replace('"', " ")
    return " ".join((text.lower() if code == ENGLISH else fold(text, code)).split())


@lru_cache(maxsize=64)  # the sentences of an answer, asked about by several
def _cues(text: str, code: str) -> frozenset[str]:
    """The words of a text that some pattern needs."""
    return language(code).refusal.cues.intersection(read(text, code).words)


@lru_cache(maxsize=64)
def _wordings(said: str, code: str = ENGLISH) -> tuple[re.Match[str], ...]:
    """What is worded like a refusal."""
    return tuple([match for found in _possible(_cues(said, code), code) for match in found(said)])


@lru_cache(maxsize=1 << 12)  # sentences hold few such words, and the same ones again and again
def _possible(cues: frozenset[str], code: str) -> tuple[Callable[[str], Iterator[re.Match[str]]], ...]:
    """Searches for the wordings that need no other word groups than those of these words."""
    known = language(code).refusal
    present = {name for name, group in known.groups.items() if not group.isdisjoint(cues)}
    return tuple(re.compile(each.pattern).finditer for each in known.wordings.values() if each.needs <= present)


def _opens_with(answer: str, sentence: str, code: str) -> bool:
    opening = read(sentence, code).words
    return read(answer, code).words[: len(opening)] == opening


def _behind(answer: str, sentence: str) -> str:
    """The answer behind its first words, as many as the sentence has."""
    end = 0
    for _, match in zip(_RUN.findall(sentence), _RUN.finditer(answer), strict=False):
        end = match.end()
    return answer[end:].lstrip(" .!,;:–—-")


def without_label(answer: str, code: str = ENGLISH) -> str:
    """An answer without what may stand in front of it: "Answer: ", "**Answer:**"."""
    bare = answer.replace("**", "").replace("__", "") if "*" in answer or "_" in answer else answer
    return language(code).refusal.label.sub("", bare) if ":" in bare else bare
