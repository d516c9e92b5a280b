"""Checks of one claim beside its support by words: negation, a single foreign word, a wrong value, a wrong table row.

Each sees what an average over words hides in a sentence that is otherwise the context's own. None reads meaning.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import chain, groupby, pairwise

from tasks.text.cached import pattern
from tasks.text.language import ENGLISH, NEVER, language
from tasks.text.reading import read
from tasks.text.support import CLAUSE, ContextView
from tasks.text.tokens import content_stems, entities, fold, negations, sentences, stems, words
from tasks.text.values import Value, aligned, commensurable, read_values, same, stated

_HIDDEN = pattern(r"(?s)<think>.*?(?:</think>|\Z)|```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)")
_LINK = pattern(r"\s?\(\[[^\]]*\]\([^)]*\)\)|\s?\[\^?\d+\]\([^)]*\)|!?\[([^\]]*)\]\([^)]*\)|https?://\S+")
_NOTE = pattern(
    r"\s?【[^】]*†[^】]*】|\s?[\[【(](?:\^?\d{1,3}(?:†[^\]】]*)?|(?:\w+\s)?\d{1,3})(?:\s*,\s*(?:p|pp|page|S|sec|ch|§)\.?\s*\d+)[\])】]"
    r"|\s?\[\^\d+\]|(?<=[^\W\d_]|[.,])(?<![\s\dcdkmµ]m)[¹²³⁴⁵⁶⁷⁸⁹⁰]+(?![\w/])"
)
_MARKUP = pattern(r"##(?:begin|end)_quote##|\*\*|__|`|^\s*#{1,6}\s+|^\s*>\s+", re.MULTILINE)
_OPENING = pattern(r"[\s\"'«„“¡¿]*([^\s.,;:!?。，、！।؟،–—-]+)(?:\s?[.,;:!?。，、！।؟،–—-]+\s*|$)")
_SHORT_NOT = pattern(r"(?i)n\s?['’ʼ´`]\s?t\b")
_NO = pattern(r"\b[Nn]os?\.\s?(?=\d)")  # No. 5
_RULED = pattern(r"(?m)^\s*\|?[\s:|-]{3,}\|?\s*$")
NEARLY = 0.75  # share of a claim's content in one clause, from which its negation must agree
MOST = 0.6  # share of a denial's own words that the context holds
LITERAL = 0.6  # share of the pairs of words beside foreign ones that the context holds
OWN = 0.6  # of a claim's own words that one place of the context holds, for each that it lacks
_PERIODS = frozenset({"second", "minute", "hour", "day", "week", "month", "year"})
MOST_BEFORE = 4  # words in front of the name that a claim speaks of
WHOLE = 0.4  # share of the pairs of words that the context holds, from which a claim rewords nothing


@lru_cache(maxsize=16)
def shown(answer: str, code: str = ENGLISH) -> str:
    """An answer without what claims nothing: thoughts, code, links, notes, markup, courtesies, questions back."""
    text = answer
    if "<think>" in text or "```" in text or "~~~" in text:
        text = _HIDDEN.sub(" ", text)
    if "](" in text or "http" in text:
        text = _LINK.sub(lambda match: match[1] or "", text)
    if "[" in text or "【" in text or "(" in text or not text.isascii():
        text = _NOTE.sub("", text)
    if "*" in text or "_" in text or "`" in text or "#" in text or ">" in text:
        text = _MARKUP.sub("", text)
    if "|" in text:
        text = _RULED.sub("", text).replace("|", " ")
    label = language(code).refusal.label
    if ":" in text:
        text = label.sub("", text)
    for said in sentences(text, code):
        if _says_nothing(said, code):
            text = text.replace(said, "", 1)
    return text


def _says_nothing(said: str, code: str) -> bool:
    plain = said.casefold().strip(" !.,…-*")
    if said.endswith("?") or language(code).claims.lead.match(said.strip("-* ")):
        return True
    phrases = tuple(map(str.casefold, language(code).courtesies))
    return bool(phrases) and plain.startswith(phrases) and len(plain.split()) <= 14 and not re.search(r"\d", plain)


def without_yes_or_no(text: str, code: str) -> str:
    """A text without the yes or no that it begins with or is."""
    word = _OPENING.match(text)
    known = language(code)
    return text[word.end() :] if word and fold(word[1], code) in known.yes | known.no else text


def in_notation(view: ContextView, claim: str) -> str:
    """A claim with its values spelled as in the context; a sum that it calls one as one of the context's values."""
    values = [each for each in read_values(claim, view.code) if not view.says(claim, each)]
    if not values:
        return claim
    if speaks_of_a_sum(claim, view.code):
        for value in values:
            if not stated(value, view.values) and computed(value, view.values):
                other = next(each for each in view.values if commensurable(each, value))
                return claim[: value.start] + view.text[other.start : other.end] + claim[value.end :]
    return aligned(claim, view.text, view.code, strict=False)


@lru_cache(maxsize=64)  # of a claim, asked by several checks
def is_negated(text: str, code: str) -> bool:
    """Whether a negation stands in a text, but for one in front as an answer: "No, …"."""
    if not denies(text, code):
        return False
    known, rest = language(code), without_yes_or_no(text, code)
    return denies(rest, code) and denies(known.claims.affirmed.sub(" ", rest), code)


def denies(text: str, code: str) -> bool:
    """Whether a word of a text negates; the "t" of "isn't" does, that of "T-101" does not."""
    found = negations(code).intersection(read(text, code).words)
    if found == {"no"} and "." in text:
        found = found.intersection(words(_NO.sub("", text), code))
    return bool(found) and (found != {"t"} or _SHORT_NOT.search(text) is not None)


@cache
def _negating_stems(code: str) -> frozenset[str]:
    return frozenset(stems(negations(code), code))


def contradicts(view: ContextView, claim: str) -> bool:
    """Whether the clause of the context that says nearly the same says it with a negation more or less."""
    if not is_negated(claim, view.code):
        wanted = view.read(claim).held
        if not any([len(wanted & held) > 1 for held in view.negated_stems]):
            return False  # no clause that is near is negated
    return (found := _denied(view, claim)) is not None and found[0] != found[1]


def _denied(view: ContextView, claim: str) -> tuple[bool, bool, bool] | None:
    """Whether a claim denies what the context has, whether the sentence nearest to it denies a word of the claim, and
    whether it denies anything; None if none is near.

    Of sentences that are equally near one counts that agrees. What either denies of something else is its own affair.
    """
    wanted = set(view.read(claim).content) - _negating_stems(view.code)
    if len(wanted) < 2:
        return None
    own, best, found = denied(claim, view.code), NEARLY, None
    whole = any([each <= view.stems for each in own])
    for asked, parts in view.clauses(wanted, NEARLY):
        shares = [len(asked & held) / len(asked) for _, held in parts]
        share = max(shares[:-1]) if max(shares[:-1], default=0.0) >= NEARLY else shares[-1]
        if share >= best:
            text, held = parts[-1]
            told = denied(text, view.code)
            alike = [
                its for part, its in parts[:-1] if any([each <= its for each in own]) and is_negated(part, view.code)
            ]
            by_context = bool(alike) or any([not each.isdisjoint(wanted) for each in told])
            by_claim = whole or (by_context and any([not each.isdisjoint(held) for each in own]))
            if by_claim == by_context or not (found and share == best and found[0] == found[1]):
                found = by_claim, by_context, bool(told)
            best = share
    return found


@lru_cache(maxsize=64)
def denied(text: str, code: str) -> list[frozenset[str]]:
    """What each negation of a text speaks of: the two content stems behind it in its clause, else those before it."""
    if not is_negated(text, code):
        return []
    found, some = [], negations(code)
    for part in CLAUSE.split(language(code).claims.affirmed.sub(" ", without_yes_or_no(text, code))):
        said = read(part, code)
        for at, word in enumerate(said.words):
            if word in some and (word != "t" or (at and said.words[at - 1][-1] == "n")):
                behind = [each for each in said.kept[at + 1 :] if each][:2]
                found.append(frozenset(behind or [each for each in said.kept[:at] if each][-2:]))
    return [each for each in found if each]


def foreign_words(view: ContextView, claim: str, query: str) -> list[str]:
    """The words that the context does not have, in a claim that is otherwise nearly literally a place of it.

    Another name, day or unit, one more item of a list, a clause that somebody added. Not what mostly rewords (endings
    of verbs and adverbs), and nothing in a claim that rewords throughout: there a new word is no sign.
    """
    if language(view.code).claims.rewording is NEVER:
        return []
    said = view.read(claim)
    asked = set(view.read(query).content)
    new = {its for its in said.content if its not in view.stems and its not in asked}
    told = [(word, its in new) for word, its in zip(said.words, said.kept, strict=True) if its]
    runs = [[word for word, _ in run] for is_new, run in groupby(told, lambda each: each[1]) if is_new]
    found = [word for word in chain(*runs) if not (word.isdigit() or view.rewords(word))]
    rest = {its for its in said.content if its in view.stems}
    if not found or len(rest) < 2 or view.most_together(rest) < len(rest):
        return []
    if (view.bigram_coverage(claim) or 0) < (WHOLE if len(runs) == 1 else LITERAL):
        return []
    pairs = [pair for pair in pairwise(said.stems) if new.isdisjoint(pair)]
    held = sum(view.pairs_held(pairs))
    return found if pairs and held >= LITERAL * len(pairs) else []


def reworded(view: ContextView, claim: str, query: str) -> bool:
    """Whether a claim says in other words what two neighbouring sentences of the context say.

    These hold two of its content words beside the question's or more, and not many fewer than they lack; and few of its
    words stand side by side as they do there. What is made up takes up next to nothing of one place, or it stands in a
    sentence that is otherwise literal.
    """
    own = set(view.read(claim).content).difference(view.read(query).content)
    held = view.most_together(own)
    return held > 1 and held >= OWN * (len(own) - held) and (view.bigram_coverage(claim) or 0) < WHOLE


def misplaced(view: ContextView, claim: str) -> bool:
    """Whether a value of a claim is not that of the sentence that says the rest, which has another one.

    "The Orva 300 has a warranty of 60 months", where its own sentence says 36, and 60 is another pump's.
    """
    values = [each for each in read_values(claim, view.code) if each.kind != "name"]
    content = set(view.read(claim).content)
    if not values or any(content <= held for held in view.sentence_stems) or is_negated(claim, view.code):
        return False
    for value in values:
        others = [each for each in values if each is not value and commensurable(each, value)]
        if value.kind != "time" and any(_counts_the_same(view, claim, value, claim, each) for each in others):
            continue  # which of them is of what, words do not tell
        rest = content.difference(content_stems(claim[value.start : value.end], view.code))
        near = [parts[-1][0] for _, parts in view.clauses(rest, NEARLY)]
        told = [(each, read_values(each, view.code)) for each in near]
        if not any(stated(value, others) for _, others in told) and any(
            commensurable(value, rival)
            and _counts_the_same(view, claim, value, text, rival)
            and not stated(rival, values)
            for text, others in told
            for rival in others
        ):
            return True
    return False


def _counts_the_same(view: ContextView, claim: str, value: Value, text: str, rival: Value) -> bool:
    """Whether two numbers without a unit are years or count the same things; others have their unit."""
    if value.kind != "number" or value.unit or all(1000 <= each.low <= 2100 for each in (value, rival)):
        return True
    behind = [content_stems(each, view.code)[:1] for each in (claim[value.end :], text[rival.end :])]
    return bool(behind[0]) and behind[0] == behind[1]


def wrong_values(view: ContextView, claim: str, query: str) -> list[str]:
    """Values of a claim that the context holds with another sign, unit, currency, magnitude, month or comparison."""
    said = [each for each in read_values(claim, view.code) if _is_checked(each) and not view.says(claim, each)]
    if not said:
        return []
    held = view.values
    found = []
    denied = is_negated(claim, view.code)
    for value in said:
        alike = [each for each in held if same(value, each)]
        rivals = value.unit and any(commensurable(value, each) and each.unit for each in held)
        if any(each.unit or not rivals for each in alike) or _by_time(value, held):
            continue  # a bare number is no "420 km/h" where another speed is stated
        if denied and stated(value, read_values(query, view.code)):
            continue
        if not (speaks_of_a_sum(claim, view.code) and computed(value, held)):
            found.append(claim[value.start : value.end])
    return found


def _by_time(value: Value, held: Iterable[Value]) -> bool:
    """Whether a rate is stated in two parts: "28 days of leave a year"."""
    unit, _, per = value.unit.rpartition("/")
    return per in _PERIODS and stated(value._replace(unit=unit), [each for each in held if each.unit == unit])


def _is_checked(value: Value) -> bool:
    return value.kind == "date" or (
        value.kind == "number" and bool(value.unit or value.low < 0 or value.high >= 1e6 or value.bound or value.named)
    )


def speaks_of_a_sum(claim: str, code: str) -> bool:
    """Whether a claim says that it adds or subtracts."""
    return not language(code).claims.sums.isdisjoint(read(claim, code).words)


def computed(value: Value, held: Iterable[Value]) -> bool:
    """Whether a value is the sum of all values of its kind, or the sum or difference of two."""
    if value.kind != "number":
        return False
    alike = list({(each.low, each.unit): each for each in held if commensurable(each, value)}.values())[:12]
    total = value._replace(low=sum(each.low for each in alike), high=sum(each.low for each in alike))
    if len(alike) > 1 and len({each.unit for each in alike}) == 1 and same(total._replace(unit=alike[0].unit), value):
        return True
    pairs = [(a, b) for at, a in enumerate(alike) for b in alike[:at] if a.unit == b.unit]
    results = [a._replace(low=x, high=x, bound="") for a, b in pairs for x in (a.low + b.low, abs(a.low - b.low))]
    return any(same(each, value) for each in results)


def wrong_row(view: ContextView, claim: str) -> bool:
    """Whether a claim names one row of a table of the context, and a number of another row only."""
    if not view.rows:
        return False
    folded = claim.casefold()
    named = [cells for cells in view.rows if cells[0] and len(cells[0]) > 1 and cells[0].casefold() in folded]
    if len(named) != 1:
        return False
    numbers = {each for each in re.findall(r"(?<![\w.-])\d+(?:[.,]\d+)*(?![\w-])", claim)}
    own = set(named[0])
    others = {cell for cells in view.rows if cells is not named[0] for cell in cells[1:]}
    return any(number in others and number not in own for number in numbers)


def denied_silently(view: ContextView, claim: str, query: str) -> bool:
    """Whether a denial rests on the context: it denies the same, or holds most words that are not the question's."""
    if not is_negated(claim, view.code):
        return False
    if (found := _denied(view, claim)) and found[0] == found[1] and found[2]:
        return True
    own = set(view.read(claim).content).difference(view.read(query).content, _negating_stems(view.code))
    return bool(own) and len(own & view.stems) >= MOST * len(own)


def without_absence(view: ContextView, claim: str) -> str:
    """A claim without its "but no price" or "The sheet does not name a price.", where the context is silent about it.

    Who says nothing is a source, or something that the context does not speak of.
    """
    known = language(view.code)

    def silent(match: re.Match[str]) -> str:
        told = match.groupdict()
        source = told.pop("source", None) or told.pop("who", None) or ""
        if set(content_stems(source, view.code)) & view.stems and not known.refusal.groups["source"] & set(
            words(source, view.code)
        ):
            return match[0]
        what = next(filter(None, told.values()), "")
        named = content_stems(what, view.code)
        is_silent = view.stems.isdisjoint(named) if told["no"] else not view.stems.issuperset(named)
        return "" if named and is_silent else match[0]

    return known.claims.absence.sub(silent, claim) if is_negated(claim, view.code) else claim


def stitched(view: ContextView, claim: str) -> bool:
    """Whether a claim says of what one passage alone names what another passage says, and that one does not.

    "The Orva 300 must be serviced yearly", of a passage on the Orva 300 and one on the Orva 500. What it speaks of is
    the first name in it, with a number behind it.
    """
    held = view.read(claim).held & view.stems
    if view.is_of_one_passage(held):
        return False
    passages = view.passage_stems
    named = entities(claim if view.capitalises(claim) else f"_ {claim}", view.code)
    names = {each for name in named for each in view.read(name).content}
    about = set(view.read(named[0]).content) if named else set()
    if named and len(claim[: claim.find(named[0])].split()) > MOST_BEFORE:
        return False  # it speaks of something else
    if named and (number := re.search(rf"{re.escape(named[0])} (\d+)\b", claim)):
        about.add(number[1])
    for home in [each for each in passages if about & held & each]:
        others = [each for each in passages if not (about & held & home) <= each]
        for part in CLAUSE.split(claim) if len(others) == len(passages) - 1 else ():
            its = held.intersection(view.read(part).content)
            rest, told = its - home, its - names - about
            if rest and len(told) > 1 and any(rest | told <= each for each in others):
                return True
    return False


def spelled_there(view: ContextView, claim: str) -> bool:
    """Whether a sentence of the context has a claim's longer words, or of a script without spaces its characters.

    Not of English, whose function words are known.
    """
    if view.code == ENGLISH:
        return False
    if language(view.code).segmentation != "characters":
        long = {each for each in content_stems(claim, view.code) if len(each) > 3}  # its stop words may be few
        return len(long) > 1 and any(long <= held for held in view.sentence_stems)
    letters = [each for each in claim if each.isalnum()]
    return bool(letters) and sum(each in view.text for each in letters) >= 0.85 * len(letters)
