"""Refusals, recognised by their wording: the fixed sentence, and what models say in its place."""

import re
from functools import lru_cache

from tasks.text.tokens import content_stems, normalise, sentences, words

_GAP = r"(?:[\w'/-]+,? ){0,%d}?"  # at most so many words
_CLAUSE = r"[^.!?;]{0,80}?"
_SOURCE = (  # what a refusal speaks of; a treaty or a law that "does not mention" something is none of these
    r"(?:contexts?|passages?|texts?|documents?|documentation|articles?|sources?|excerpts?|paragraphs?|snippets?"
    r"|(?:provided|given|supplied|reference) (?:materials?|contents?)|information|info|search results?|references?"
    r"|(?:data ?)?sheets?|manuals?|extracts?)\b(?! (?:of|code|message)\b)"
)
_THE_SOURCE = (
    r"(?:\b(?:the|this|that|these|those|your|my|any|all|both|either|given|provided|supplied|retrieved) "
    rf"{_GAP % 4}{_SOURCE}|^(?:context|passages?|excerpts?)\b)"
)
_OUT_OF = rf"(?:in|by|from|within|on|using|with|given|among) (?:just |only |solely |any of )?(?:{_THE_SOURCE}|context)"
_NOT = r"\b(?:not|cannot|never|nowhere|\w+n't)\b"
_DO_NOT = r"(?:(?<!is )(?<!are )(?<!was )(?<!were )\b(?:not|cannot|never)|(?:do|does|did|ca|could|have|has)n't)\b"
_CANNOT = r"\b(?:can ?not|can't|could not|couldn't|unable|not able|n't able|impossible|(?:not|n't) possible|failed)\b"
_UNCLEAR = (
    r"\b(?:unclear|(?:not|n't) (?:\w+ )?clear|unknown|unspecified|unstated|uncertain|difficult|hard|insufficient)\b"
)
_TELL = (
    r"(?:stat|mention|specif|provid|giv|contain|includ|address|discuss|say|said|indicat|describ|answer|cover|offer"
    r"|clarif|detail|list|expla|disclos|reveal|refer|present|tell|defin|identif|nam(?=e|i)|not(?=e|i)|report|record"
    r"|document|establish|have\b|hold\b|show|suppl|touch|talk|appear|elaborat|deal|make\b|allow|enough|sufficient"
    r"|found|available|known|clear|determin|suggest|speak|help|confirm|quot|set out|relate|relevant|go into|compar)\w*"
)
_FIND = (
    r"(?:answer|find|found|determin|provid|locat|say|said|giv|tell|told|confirm|identif|see|seen|infer|help|respond"
    r"|offer|verif|know|establish|conclu|deduc|deriv|ascertain|state|assess|specif|assist|address|comment|extract|sure"
    r")\w*"
)
_FACT = (
    r"(?:information|info|mention|details?|data|answers?|evidence|indication|references?|statement|discussion"
    r"|explanation|description|context|specifics|records?|clues?|facts?)\b(?! \w+ (?:is|are) (?:needed|required))"
)
_GIVEN = r"(?:stated|mentioned|specified|provided|given|said|disclosed|found|available|indicated|included|listed)"

_WORDINGS = {
    "the passages do not say": rf"{_THE_SOURCE}{_CLAUSE}{_DO_NOT} {_GAP % 3}{_TELL}",
    "the passages are not enough": rf"{_THE_SOURCE}{_CLAUSE}(?:(?:is|are) not|isn't|aren't) {_GAP % 2}"
    r"(?:clear|sufficient|enough|relevant|explicit|specific|helpful|about|related)",
    "the passages say nothing": rf"{_THE_SOURCE}{_CLAUSE}\b(?:lacks?|omits?|fails?|neglects?|leaves? (?:it )?open"
    r"|(?:is|are) silent|\w+ (?:no|nothing|neither|little|insufficient|limited)\b)",
    "none of them says": rf"{_SOURCE}{_CLAUSE}\bnone of (?:them|these|those) {_GAP % 1}{_TELL}",
    "no passage says": rf"\b(?:no|none|neither|nothing|nowhere) {_GAP % 3}(?!information|info){_SOURCE}{_CLAUSE}\b"
    rf"{_TELL}",
    "not said in the passages": rf"{_NOT} {_GAP % 3}{_TELL} {_GAP % 4}{_OUT_OF}",
    "nothing on it in the passages": rf"\b(?:no|any|little) {_GAP % 3}{_FACT}{_CLAUSE}\b{_OUT_OF}",
    "there is nothing on it": rf"^{_GAP % 4}(?:there(?: is|'s| are| was| were)(?:n't| not)?(?: no| any)|no) {_GAP % 3}"
    rf"{_FACT}(?=\W*$|[,;]| (?:on|about|regarding|concerning|relat\w+|of|in|within|from|to|for|as|which|whether)\b"
    rf"| (?:(?:is|are|was|were) )?{_GAP % 1}{_GIVEN}\b)",
    "nothing in the passages": rf"\b(?:nothing|anything) in {_THE_SOURCE}",
    "not stated": rf"^(?:(?:this|that|it|the answer|the information)(?: is|'s) )?(?:not|isn't) {_GAP % 2}{_GIVEN}\b",
    "it is not stated": rf"(?:{_NOT} {_GAP % 2}|^nothing (?:is|was) )(?!found|avail){_GIVEN}"
    r"(?: (?:about|on|regarding)\b.*|\W*)$",
    "the answer is not given": rf"\b(?:information|answer)\b{_CLAUSE}\b(?:is|are|was|were)"
    rf"(?:n't| not) {_GAP % 2}(?:present|contained|{_GIVEN})",
    "I cannot tell": rf"\b(?:i|we)(?:'m|'re|'ve| am| are| was| were| have been)? {_GAP % 3}(?:{_CANNOT}|won't be able)"
    rf" {_GAP % 4}{_FIND}",
    "I do not know": rf"\b(?:i|we) {_GAP % 2}(?:(?:do|did)(?: not|n't) {_GAP % 2}(?:have|know|see|find|possess)"
    r"|(?:have|had|found|see) (?:no|insufficient|nothing)|(?:am|'m) not (?:sure|certain|aware))\b",
    "cannot tell": rf"^(?:{_CANNOT} (?:to )?(?:be )?{_FIND}|it(?: is|'s) {_CANNOT} to (?:answer|say|tell)\b)",
    "it does not say": rf"^(?:it|they|this|that) (?:\w+ )?{_DO_NOT} (?:say|state|mention|specify|tell)\w*(?: \w+)?\W*$",
    "we are not told": r"\b(?:i|we) (?:was|were|are|am|have) not (?:been )?(?:given|provided|told)\b",
    "it is missing": rf"\b(?:missing|absent) from {_THE_SOURCE}|{_THE_SOURCE}{_CLAUSE}\b(?:unrelated|irrelevant) to",
    "not in the passages": rf"\bnot (?:in|part of|something|a detail|a topic) {_THE_SOURCE}",
    "it cannot be told from the passages": rf"(?:{_CANNOT}|{_UNCLEAR}|{_NOT} {_GAP % 2}{_FIND}){_CLAUSE}\b"
    rf"(?:{_OUT_OF}|based (?:solely |only )?on {_THE_SOURCE})",
    "from the passages it cannot be told": rf"^(?:based|going|according|judging|from|given|with|using){_CLAUSE}"
    rf"{_SOURCE}{_CLAUSE}(?:(?:{_CANNOT}|{_UNCLEAR}) {_GAP % 2}{_FIND}|{_UNCLEAR})",
    "the question cannot be answered": rf"\b(?:question|query)\b{_CLAUSE}(?:{_CANNOT}"
    rf"|\b(?:is not|isn't|remains|goes)\b) (?:be )?{_GAP % 2}(?:un)?(?:answer|address|determin|cover|found)",
    "unable to answer": rf"(?:{_CANNOT}|(?:not enough|insufficient|too little) {_GAP % 3})(?: to)? (?:\w+ )?"
    r"(?:answer\b|respond to the)",
    "not enough information": rf"(?:\b(?:not|without)|n't|\bin(?=suff|adeq))[ -]?{_GAP % 1}"
    rf"(?:enough|sufficient|adequate) (?:{_GAP % 2}{_FACT}|to {_FIND})",
    "more would be needed": r"\bi(?:'d| would| will) need (?:more|further|additional) "
    rf"|\b(?:more|further|additional) {_GAP % 1}(?:information|context|details?)"
    r" (?:is|are|would be) (?:needed|required|necessary)",
    "out of scope": rf"\b(?:outside|beyond|not within) (?:of )?the scope of {_THE_SOURCE}",
    "a machine": r"\bas an ai\b|\bi have no (?:idea|way)\b|\bunanswerable\b|\bnot answerable\b",
    "a word": r"^(?:no answer|not (?:applicable|known|sure)|n/?a|unknown|no idea)\W*$",
    "sorry": r"^(?:(?:i am|i'm|we are|we're) (?:\w+ )?(?:sorry|afraid)|sorry[,.!]|(?:i|we) apologi[sz]e"
    r"|(?:my )?apologies)",
}
# Long patterns stay text: `re` compiles them at first use and keeps them, and a plan does not wait 40 ms for it.
_REFUSAL = "|".join(_WORDINGS.values())
_CUE = (  # every wording holds one of these; most answers hold none, and are spared the rest
    r"n't\b| (?:not?|none|nothing|nowhere|neither|never|cannot|neglects?|n/?a\W*$"
    r"|un(?:able|clear|known|specified|stated|certain|answer\w*)|insufficient|inadequate|impossible|failed|fails?|lacks?|omits?"
    r"|silent|little|limited|sorry|afraid|apolog\w+|an ai|missing|absent|irrelevant|unrelated|open|difficult|hard"
    r"|outside|beyond|more|further|additional|without)\b"
)
_ASIDE = (  # what may stand before a refusal and says nothing on the question itself
    r"^(?:thank|hello|hi\b|sure\b|okay|ok\b|great|good question|let me|that is a|after)"
    rf"|^{_CLAUSE}{_THE_SOURCE} {_GAP % 5}(?:discuss|describ|mention|talk|focus|cover|provid|contain|is\b|are\b|give"
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
    rf"{_THE_SOURCE}(?: \w{{1,3}})?,? |{_THE_SOURCE}(?: \d+)? (?:also )?(?:states|mentions|says|indicates|notes"
    r"|explains|specifies)(?: that)? )"
)
_PRONOUN = re.compile(r"^(?:(?:however|but|yet),? )?(?:it|they|these|this)\b ?")  # the passages, named just before
_CONJUNCTION = re.compile(r"\w,? (?:but|although|though|however|yet)\b")  # something was said before it
_NAMES_SOURCE = rf"\b{_SOURCE}"


@lru_cache(maxsize=16)  # a row asks several times
def is_refusal(answer: str, sentence: str | None = None) -> bool:
    """Whether an answer declines to answer, in the fixed refusal `sentence` or in words of its own.

    It does if it opens with a refusal, be it after an apology or a sentence about what the passages do hold, and
    also if it answers afterwards all the same (see `leaks`). An answer that first answers and then adds what the
    context leaves open does not. Patterns over English wording: a very roundabout refusal is missed.
    """
    if sentence and _opens_with(answer, sentence):
        return True
    if not re.search(_CUE, " " + _plain(answer.replace(";", " "))):
        return False
    said = [_plain(part) for each in sentences(answer) for part in each.split(";")]
    return any(map(_refuses, _opening(said)))


def leaks(answer: str, sentence: str | None = None) -> bool:
    """Whether a refusal goes on to answer all the same: "Not stated in the context. However, it is often 16 bar."

    It does if, behind the refusal, something is left to check: see `claims`.
    """
    return is_refusal(answer, sentence) and bool(claims(answer, sentence))


def claims(answer: str, sentence: str | None = None) -> list[str]:
    """The sentences of an answer that claim something about the world, and so can be checked against a context.

    Without refusals, and without frames such as "According to the passage, ". Of an answer that refuses, only what
    comes behind the refusal, in the same sentence after a "but" or in later ones, if it has at least three content
    words and is no courtesy ("Please provide more details.").
    """
    if sentence and _opens_with(answer, sentence):
        found = [part for said in sentences(_behind(answer, sentence)) for part in _claiming(said)]
    elif is_refusal(answer):
        clauses = [clause for said in sentences(answer) for clause in _clauses(said)]
        refusing = [_refuses(_PRONOUN.sub("the passages ", _plain(clause))) for clause in clauses]
        first = refusing.index(True) if any(refusing) else len(clauses)
        found = [clause for at, clause in enumerate(clauses) if at > first and not refusing[at]]
    else:
        said = sentences(answer)
        cued = re.search(_CUE, " " + _plain(answer))
        return [re.sub(_FRAME, "", part) for each in said for part in (_claiming(each) if cued else (each,))]
    return [part for part in found if len(content_stems(part)) >= 3 and not _is_polite(_plain(part))]


def _is_polite(said: str) -> bool:
    """Whether what stands behind a refusal is a courtesy, or tells what the passages are about instead."""
    return re.search(_COURTESY, said) is not None or (
        re.search(_ASIDE, said) is not None and " that " not in said and not said.startswith(("however", "but", "yet"))
    )


def _claiming(said: str) -> list[str]:
    """A sentence as it is, or if some of its clauses refuse, the others."""
    clauses = _clauses(said)
    kept = [clause for clause in clauses if not _refuses(_plain(clause))]
    return kept if len(kept) < len(clauses) else [said]


def _clauses(said: str) -> list[str]:
    """A sentence in parts, each beginning with a "but" or the like; whole if it refuses across the parts."""
    clauses = _TURN.split(said)
    across = _refuses(_plain(said)) and not any(_refuses(_plain(clause)) for clause in clauses)
    return [said] if across else clauses


def _plain(said: str) -> str:
    text = normalise(said).replace("’", "'").replace(" n't", "n't").replace('"', " ")
    return " ".join(text.lower().split())


def _opening(spoken: list[str]) -> list[str]:
    """The sentences up to and including the first one that speaks to the question."""
    for position, said in enumerate(spoken):
        if not re.search(_ASIDE, said):
            opening = spoken[: position + 1]
            return [_PRONOUN.sub("the passages ", said) for said in opening] if position else opening
    return spoken


def _refuses(said: str) -> bool:
    for match in re.finditer(_REFUSAL, said):
        before = said[: match.start()]
        if not _CONJUNCTION.search(before) or re.search(_NAMES_SOURCE, before):
            return True
    return False


def _opens_with(answer: str, sentence: str) -> bool:
    opening = words(sentence)
    return words(answer[: 2 * len(sentence) + 20])[: len(opening)] == opening


def _behind(answer: str, sentence: str) -> str:
    """The answer behind its first words, as many as the sentence has."""
    end = 0
    for _, match in zip(words(sentence), re.finditer(r"[^\W_]+", answer), strict=False):
        end = match.end()
    return answer[end:].lstrip(" .!,;:–—-")
