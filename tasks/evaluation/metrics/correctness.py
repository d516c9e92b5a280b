"""Correctness: does the answer state what the reference states? Values as values, else words by a stated rule."""

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from tasks.evaluation.metrics.row import Row
from tasks.text import ENGLISH, ContextView, content_stems, language
from tasks.text.checks import contradicts, denies
from tasks.text.departures import departs
from tasks.text.reading import read
from tasks.text.refusal import without_label
from tasks.text.support import CLAUSE
from tasks.text.tokens import entities, sentences, words
from tasks.text.values import (
    Value,
    aligned,
    commensurable,
    holds,
    list_items,
    naming,
    negated_before,
    read_values,
    same,
    terms,
)

SHORT = 6  # content words of a reference that an answer must hold all; of a longer one, `MOST` of them
MOST = 2 / 3
MUCH = 20  # words beyond twice the reference's, from which an answer that copies
COPIED = 0.9  # so much of itself
RUN = 5  # in runs of so many words is none


class Outcome(StrEnum):
    """What became of a question."""

    RIGHT = "right"
    WRONG = "wrong"  # another value, or an answer where the context holds none
    REFUSED_RIGHTLY = "refused rightly"
    REFUSED_WRONGLY = "refused wrongly"


def outcome(row: Row) -> Outcome | None:
    """The class of a row; None for an answerable one without reference that is answered."""
    if row.abstained:
        if not row.should_abstain:
            return Outcome.REFUSED_WRONGLY
        return Outcome.WRONG if row.leaks else Outcome.REFUSED_RIGHTLY
    if row.should_abstain:
        return Outcome.WRONG
    right = correct(row)
    return None if right is None else Outcome.RIGHT if right else Outcome.WRONG


@lru_cache(maxsize=1)  # asked again for the same row
def correct(row: Row) -> float | None:
    """1 if the answer states what the reference states, and no other value for the same thing, else 0; up.

    Of several references the best counts. The reference's values (the row's `value`, if it is known) must stand in the
    answer, in whatever notation, none of them negated, and no other value of their kind in the same clause or in one
    without a subject of its own. "Yes" and "no" must agree; a list holds the same items in any order; a reference
    without values matches if its content words stand in the answer (all of up to six, else two thirds, and half of its
    names), negated alike. Where answer and reference have the same words, a name or number in the place of another one
    is wrong (`tasks.text.departures`).
    A refusal, an empty answer and copied passages much longer than the reference are 0. None where the right answer
    is a refusal, or there is no reference. Blind to what a right value is said of, and to a reference in quite other
    words.
    """
    if row.should_abstain or not row.references:
        return None
    if row.abstained or not row.answer.strip():
        return 0.0
    if any(answer == reference for answer, reference in row.compared) and not _misnumbered(row):
        return 1.0
    if _recites(row):
        return 0.0
    return float(any(_agrees(answer, reference, row) for answer in _said(row) for reference in row.references))


def _misnumbered(row: Row) -> bool:
    """Whether the digits are others where a question asks for a number that is a name: version 3.1 for 3.10."""
    code = row.context.code
    if naming(code).isdisjoint(row.context.read(row.query).words):
        return False
    said = {each.digits: each for each in read_values(row.answer, code) if each.digits}
    wanted = [each for reference in row.references for each in read_values(reference, code) if each.digits]
    return any(each.digits not in said and any(same(each, its) for its in said.values()) for each in wanted)


def _said(row: Row) -> list[str]:
    """The answer without markup and courtesies; and, if that is shorter, without frames and denials, too."""
    code, claimed = row.context.code, "\n".join(row.stated)
    has_code = "```" in row.answer or "~~~" in row.answer  # which claims nothing, and may be the answer
    plain = row.plain if row.plain.strip() and not has_code else without_label(row.answer, code)
    return [plain] if not claimed or read(plain, code).words == read(claimed, code).words else [plain, claimed]


def _recites(row: Row) -> bool:
    """Whether an answer copies passages and leaves it to the reader to find what was asked: far more than is right."""
    said = row.answer_words
    longest = max([len(words(each, row.context.code)) for each in row.references])
    if len(said) <= MUCH + 2 * longest or len(sentences(row.answer, row.context.code)) < 3:
        return False
    return (row.context.copied(row.answer, RUN) or 0) >= COPIED


def _agrees(answer: str, reference: str, row: Row) -> bool:
    code, query, value = row.context.code, row.query, row.value
    if _misnumbered(row):
        return False
    if terms(answer, code, articles=False) == terms(reference, code, articles=False):
        return True
    wanted = _polarity(reference, code)
    if value is None and wanted is not None and not _content_behind(reference, code):
        said = _polarity(answer, code)
        return (said if said is not None else not denies(answer, code)) == wanted
    if wanted is not None and (said := _polarity(answer, code)) is not None and said != wanted:
        return False
    target, known = value or reference, f"{query} {reference}" if value else query
    if not _matches(answer, reference, target, known, row):
        return False
    return not departs(answer, target, known, row.context.text, code)


def _matches(answer: str, reference: str, target: str, known: str, row: Row) -> bool:
    """Whether an answer has the values, items or words of the target, which stands in the reference or is it."""
    code, query = row.context.code, row.query
    if _is_letter(target):
        return _letters(answer, query) == {target.strip(" .)(").upper()}
    values, items = read_values(target, code), list_items(target)
    if not values and len(items) > 1 and len(content_stems(target, code)) <= 2 * len(items) + 2:
        return _same_items(answer, target, items, query, code)
    if asked := [each for each in values if row.value or not _asked(each, query, code)]:
        whole = _holds_items(answer, items, code) and _denies_alike(answer, reference, code)
        return whole and _states(answer, asked, query, reference, code)
    return _same_words(answer, target, known, query, code)


def _holds_items(answer: str, items: Sequence[str], code: str) -> bool:
    """Whether of a list of three or more each item without a value has a word in the answer."""
    said = set(content_stems(answer, code))
    bare = [set(content_stems(each, code)) for each in items if not read_values(each, code)] if len(items) > 2 else []
    return all(not each or each & said for each in bare)


def _denies_alike(answer: str, reference: str, code: str) -> bool:
    """Whether an answer that has the very words of a reference, and at most more where that denies, denies alike."""
    said, wanted = set(content_stems(answer, code)), set(content_stems(reference, code))
    denied = denies(reference, code)
    if len(wanted) < 3 or not wanted <= said or any(each.bound for each in read_values(reference, code)):
        return True
    return denies(answer, code) if denied else said > wanted or not denies(answer, code)


def _asked(value: Value, query: str, code: str) -> bool:
    return any(same(value, each, strict=True) for each in read_values(query, code))


def _states(answer: str, values: Sequence[Value], query: str, reference: str, code: str) -> bool:
    """Whether the answer states all the values, none negated, and no other of their kind for the same thing."""
    said = read_values(answer, code)
    wanted_negated = denies(reference, code)
    for value in values:
        places = [each for each in said if same(value, each) and not _is_day(each, value)]
        if not places:
            return False
        if not wanted_negated and all(negated_before(answer, each.start, code) for each in places):
            return False
    more = [each for each in said if not any(same(each, own) for own in values)]
    if not more:
        return True
    known = [*read_values(query, code), *read_values(reference, code)]
    others = [
        each
        for each in more
        if not any(same(each, own) for own in known)
        and any(commensurable(each, value) for value in values)
        and not negated_before(answer, each.start, code)
    ]
    if not others:
        return True
    context = set(content_stems(f"{query} {reference}", code))
    start = 0
    for clause in clauses(answer, code):
        at = answer.find(clause, start)
        start = at + len(clause)
        if any(at <= other.start < start for other in others):
            holds_right = any(at <= each.start < start and any(same(v, each) for v in values) for each in said)
            subject = [each for each in content_stems(clause, code) if each not in context and each.isalpha()]
            if holds_right or not subject:
                return False
    return True


def _is_day(said: Value, date: Value) -> bool:
    """Whether a number is no more than the day of a date: "27" of 27 September 2023."""
    return date.kind == "date" and said.kind == "number" and said.low != date.words[0]


def clauses(text: str, code: str) -> list[str]:
    """The sentences of a text, in parts at ";" and before "but"."""
    turn = language(code).refusal.turn
    return [part for said in sentences(text, code) for half in said.split(";") for part in turn.split(half) if part]


def _polarity(text: str, code: str) -> bool | None:
    """True for a text that begins with a yes, False for a no, else None."""
    first, known = read(text, code).words[:1], language(code)
    if not first:
        return None
    return True if first[0] in known.yes else False if first[0] in known.no else None


def _content_behind(reference: str, code: str) -> bool:
    """Whether more than yes or no is said: a value."""
    return bool(read_values(reference, code))


def _is_letter(text: str) -> bool:
    bare = text.strip(" .)(")
    return len(bare) == 1 and bare.isalpha() and bare.isascii()


def _letters(answer: str, query: str) -> set[str]:
    """The single letters that the answer names as options."""
    bare = answer.strip(" .)(*")
    if len(bare) == 1:
        return {bare.upper()}
    found = re.findall(r"(?<![\w'’-])([A-Z])(?![\w'’-])", answer)
    if re.match(r"A\s+[a-z]", answer) and found and found[0] == "A":
        found = found[1:]  # an article
    return {each for each in found if each != "I" or " I " in f" {query} "}


def _same_items(answer: str, target: str, items: Sequence[str], query: str, code: str) -> bool:
    if not all(holds(answer, item, code) for item in items):
        return False
    if denies(answer, code) != denies(target, code):
        return False
    wanted = {stem for item in items for stem in content_stems(item, code)}
    # an answer's own list may hold no further item
    known = wanted | set(content_stems(query, code))
    for clause in clauses(answer, code):
        said = list_items(clause)
        if len(said) > 1 and wanted.intersection(content_stems(clause, code)):
            more = [each for each in said if not known.intersection(content_stems(each, code))]
            if any(content_stems(each, code) for each in more):
                return False
    return True


def _same_words(answer: str, target: str, known: str, query: str, code: str) -> bool:
    """Whether an answer has the words of a text, and denies what that denies; what it lists beside is `known`."""
    said, wanted = content_stems(aligned(answer, target, code), code), content_stems(target, code)
    if not wanted:
        return terms(answer, code, articles=False) == terms(target, code, articles=False)
    asked = set(content_stems(query, code))
    own = [each for each in dict.fromkeys(wanted) if each not in asked] or list(dict.fromkeys(wanted))
    held = sum(each in said for each in own)
    if held < (len(own) if len(own) <= SHORT else MOST * len(own)):
        return False
    named = {each for name in entities(target, code) for each in content_stems(name, code)} - asked
    if 2 * len(named & set(said)) < len(named):
        return False  # others did it
    relevant = [each for each in clauses(answer, code) if not set(own).isdisjoint(content_stems(each, code))]
    if not _deny_alike(relevant or [answer], target, set(own), code):
        return False
    return len(own) > 3 or not any(
        _lists_more(each, set(own), set(content_stems(known, code)), code) for each in relevant
    )


def _deny_alike(said: Sequence[str], target: str, own: set[str], code: str) -> bool:
    """Whether clauses deny where the text does: of a long text sentence by sentence, of a short one its words."""
    if len(own) > SHORT:
        view = ContextView((target,), code)
        return not any(contradicts(view, each) for each in said)
    if denies(target, code):
        return denies(" ".join(said), code)
    parts = [part for each in said for part in CLAUSE.split(each) if not own.isdisjoint(content_stems(part, code))]
    return not denies(" , ".join(parts), code)


def _lists_more(clause: str, own: set[str], known: set[str], code: str) -> bool:
    """Whether a bare list has an item beside the one that is right."""
    options = [set(found) for each in list_items(clause) if (found := content_stems(each, code))]
    others = [each for each in options if not own <= each]
    if not others or len(others) == len(options) or any(len(each) > len(own) + 1 for each in options):
        return False
    return any(each - known - own for each in others)


def contains_value(row: Row) -> float | None:
    """1 if the row's `value` stands in the answer, whatever stands around it, else 0; up.

    Compared as values, in whatever notation, else by stems: "1,450 rpm" is in "It runs at 1450rpm." None if the row has
    no value or the right answer is a refusal. Blind to what the value is said of, and to an answer that lists several.
    """
    if row.should_abstain or not row.value:
        return None
    code = row.context.code
    if not holds(row.answer, row.value, code):
        return 0.0
    wanted = read_values(row.value, code)
    places = [each for each in read_values(row.answer, code) if any(same(each, value) for value in wanted)]
    return float(not places or not all(negated_before(row.answer, each.start, code) for each in places))


def exact_match(row: Row) -> float | None:
    """1 if the answer equals the reference but for case, punctuation, articles and notation of values, else 0; up.

    None where the right answer is a refusal, so that refusing everything cannot win. Source: SQuAD (Rajpurkar 2016).
    Blind to any other way of saying the same.
    """
    if row.should_abstain or not row.references:
        return None
    return float(any(answer == reference for answer, reference in row.compared))


def token_f1(row: Row) -> float | None:
    """Harmonic mean of the shares of answer words in the reference and of reference words in the answer; 0 to 1, up.

    A number, with its sign, and a currency are words; the same value in another notation is the same words; a sentence
    with another value than the reference's gets half at most. None where the right answer is a refusal; a refusal of an
    answerable question counts, and scores near 0. Source: SQuAD (Rajpurkar 2016), which passes over English articles;
    others count. Blind to word order and synonyms.
    """
    if row.should_abstain or not row.references:
        return None
    compared = row.compared if row.context.code == ENGLISH else row.compared_with(articles=True)
    return max(_f1(answer, reference) for answer, reference in compared)


def _f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    left, common = Counter(reference), 0
    for each in answer:
        if left[each] > 0:
            left[each] -= 1
            common += 1
    if not common:
        return 0.0
    return 2 * common / (len(answer) + len(reference)) * (0.5 if _other_numbers(answer, reference) else 1.0)


def _other_numbers(answer: Sequence[str], reference: Sequence[str]) -> bool:
    """Whether the answer states numbers and none of the reference's is among those that it lacks."""
    said, wanted = (
        {each for each in side if not each.isalpha() and each.lstrip("-")[:1].isdigit()} for side in (answer, reference)
    )
    return bool(said - wanted and wanted - said)
