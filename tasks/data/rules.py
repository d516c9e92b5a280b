"""The rules for a row: what each one judges, its default level and limits, its remedy, and its check.

To add a rule: a field of `Rules` (its default and what it judges), a check, and a line of `RULES`.
Percentiles are of answers that people wrote to Wikipedia passages; relax the limits where answers are abstractive.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from tasks.data.names import names
from tasks.data.traces import control_tokens, misdecoded, thoughts
from tasks.data.triplets import Triplet
from tasks.engine.step import Config
from tasks.text import ENGLISH, ContextView, is_refusal, language, leaks, words
from tasks.text.cached import cached_property
from tasks.text.checks import in_notation, shown, without_yes_or_no, wrong_values
from tasks.text.citations import without_citations
from tasks.text.support import stands_in
from tasks.text.tokens import content
from tasks.text.values import identifiers

Level = Literal["reject", "warn", "off"]  # of a rule with two limits, "warn" makes its rejects warnings
Share = Annotated[float, Field(ge=0, le=1)]
OfTwo = Annotated[Level, Field(description="off: not judged. warn: rows to be rejected are kept, with a warning.")]
RejectBelow = Annotated[Share, Field(description="Rows below this share are rejected.")]
WarnBelow = Annotated[Share, Field(description="And below this share there is a warning.")]
FromWords = Annotated[NonNegativeInt, Field(description="Shorter answers have too few words to be judged by.")]
RejectOver = Annotated[NonNegativeInt, Field(description="Rows with more characters are rejected.")]
WarnOver = Annotated[NonNegativeInt, Field(description="And over so many there is a warning.")]


Kinds = tuple[str, ...]  # values of `Rule.applies_to` that hold for a row
REFUSAL, VERBATIM = ("every row", "refusal"), ("every row",)
REFUSING_ANSWER, CLAIM = ("every row", "answer"), ("every row", "answer", "claim")
KINDS: tuple[Kinds, ...] = (REFUSAL, VERBATIM, REFUSING_ANSWER, CLAIM)


class Floor(Config):
    level: OfTwo = "reject"
    reject_below: RejectBelow
    warn_below: WarnBelow
    from_words: FromWords


class KPrecision(Floor):
    reject_below: RejectBelow = 0.65  # 1st percentile; of hard wrong contexts, 95 % lie under .61
    warn_below: WarnBelow = 0.86
    from_words: FromWords = 8  # "It is 5 bar." has two words of its own, which say nothing


class ContentCoverage(Floor):
    reject_below: RejectBelow = 0.67
    warn_below: WarnBelow = 0.86
    from_words: FromWords = 1


class BigramCoverage(Floor):
    reject_below: RejectBelow = 0.40
    warn_below: WarnBelow = 0.57
    from_words: FromWords = 8


class AnswerableRefusal(Config):
    level: Level = Field("warn", description="reject: not kept. warn: kept, with a warning. off: not judged.")
    # 3 % of unanswerable questions about Wikipedia passages reach it.
    found_from: Share = Field(0.8, description="The share from which the context looks as if it answered.")


class Ceiling(Config):
    level: OfTwo = "reject"
    reject_over: RejectOver
    warn_over: WarnOver


class ContextLength(Ceiling):
    reject_over: RejectOver = 400_000  # about 100,000 tokens
    warn_over: WarnOver = 32_000


class AnswerLength(Ceiling):
    reject_over: RejectOver = 16_000
    warn_over: WarnOver = 4_000


class Rules(Config):
    """Each rule's level: reject the row, warn and keep it, or off. `malformed` rows cannot be kept, so it has none."""

    no_answer: Level = Field(
        "warn", description="A mark of no answer, such as N/A or CANNOTANSWER; off: it is an answer"
    )
    repeated_key: Level = Field("warn", description="A key that the row has twice: the last value counts")
    control_tokens: Level = Field("reject", description="A chat template's tokens, such as </s>, inside the data")
    encoding: Level = Field("warn", description="Traces of a wrong decoding: U+FFFD, NUL, UTF-8 read as something else")
    context_length: ContextLength = Field(ContextLength(), description="Characters of all passages together")
    answer_length: AnswerLength = Field(AnswerLength(), description="Characters of the answer")
    refusal_wording: Level = Field("warn", description="A refusal in other words than the refusal sentence")
    partial_refusal: Level = Field("warn", description="A refusal that answers all the same")
    answerable_refusal: AnswerableRefusal = Field(
        AnswerableRefusal(),
        description="A refusal whose context looks answering: IDF share of the query in its best two sentences",
    )
    answer_language: Level = Field(
        "warn", description="An answer in another language than its context, whose words cannot be looked for in it"
    )
    absent_number: Level = Field("reject", description="A number in the answer that the context does not state")
    k_precision: KPrecision = Field(KPrecision(), description="Share of the answer's words that the context holds")
    content_coverage: ContentCoverage = Field(
        ContentCoverage(), description="Share of the answer's content stems that the context holds"
    )
    bigram_coverage: BigramCoverage = Field(
        BigramCoverage(), description="Share of the answer's stem bigrams that the context holds"
    )
    absent_entity: Level = Field("warn", description="A name in the answer that neither context nor query holds")
    duplicate: Level = Field("reject", description="Same query, context and answer as an earlier row")
    conflict: Level = Field("reject", description="Same query and context as an earlier row, another answer")
    repeated_id: Level = Field("warn", description="Same id as an earlier row, another query or context")

    @functools.cached_property  # pydantic knows no other
    def active(self) -> dict[Kinds, list["ActiveRule"]]:
        """Name, level, setting and check of each rule that is not off, in the order of RULES, by kinds of rows."""
        active: dict[Kinds, list[ActiveRule]] = {kinds: [] for kinds in KINDS}
        for name, rule in RULES.items():
            setting: Any = getattr(self, name, "off")
            level: Level = getattr(setting, "level", setting)
            if rule.check and level != "off":
                for kinds in KINDS:
                    if rule.applies_to in kinds:
                        active[kinds].append((name, level, setting, rule.check))
        return active


@dataclass(frozen=True)
class Finding:
    """What a rule found in a row."""

    rule: str  # a key of RULES
    level: Literal["reject", "warn"]
    value: str | float  # what was found or measured
    remedy: str


class Subject:
    """A row as the checks see it; what several checks need is computed once, on demand."""

    def __init__(self, row: Triplet, sentence: str) -> None:
        self.row, self.sentence, self.code = row, sentence, row.language
        self.texts = (row.query, row.answer, *row.context)

    @cached_property
    def text(self) -> str:
        """All of them, for a first look."""
        return "\n".join(self.texts)

    @cached_property
    def view(self) -> ContextView:
        return ContextView(self.row.context, self.code)

    @cached_property
    def refuses(self) -> bool:
        """Whether the answer refuses in other words than the refusal sentence."""
        return is_refusal(self.row.answer, self.sentence, code=self.code, beside=self.view)

    def kinds(self) -> Kinds:
        """Which rules apply. A verbatim answer is grounded by every measure, and is no refusal."""
        if self.row.refusal:
            return REFUSAL
        if is_verbatim(self.row.answer, self.row.context) and any(map(str.isalnum, self.row.answer)):
            return VERBATIM
        return REFUSING_ANSWER if self.refuses else CLAIM

    @cached_property
    def is_foreign(self) -> bool:
        """Whether the answer is in another language than the context."""
        return (self.coverage or 0.0) < 0.5 and self.view.is_foreign(self.row.answer)

    @cached_property
    def claim(self) -> str:
        """What the answer says on its own: its values as the context spells them, no citation, courtesy, yes or no."""
        said = without_citations(shown(self.row.answer, self.code), self.code)
        said = in_notation(self.view, without_yes_or_no(said, self.code))
        return self.view.without_stated(said) if any(map(str.isdigit, said)) else said

    @cached_property
    def judged(self) -> str:
        """The answer as the measures of grounding see it: as it stands, if the context has all of its words."""
        return self.row.answer if self.view.content_coverage(self.row.answer) == 1.0 else self.claim

    @cached_property
    def coverage(self) -> float | None:
        return self.view.content_coverage(self.judged)


class Found(NamedTuple):
    value: str | float
    warns: bool = False  # a warning, whatever the rule's level
    remedy: str | None = None  # in place of the rule's


Check = Callable[[Subject, Any], Found | None]  # of a row, with the rule's setting in `Rules`


ActiveRule = tuple[str, Literal["reject", "warn"], Any, Check]  # name, level, setting, check


class Rule(NamedTuple):
    remedy: str
    check: Check | None = None  # None: found where rows are parsed, or across rows
    applies_to: Literal["every row", "refusal", "answer", "claim"] = "every row"  # "claim": an answer without refusal


def with_refusal_marked(row: Triplet, sentence: str) -> Triplet:
    """The row, marked as a refusal if its answer is empty or is the refusal `sentence` in any spelling."""
    answer = row.answer
    code = row.language
    if not answer or (len(answer) <= len(sentence) + 8 and words(answer, code) == words(sentence, code)):
        return row._replace(answer=sentence, refusal=True)
    return row


def says_there_is_none(row: Triplet) -> bool:
    """Whether the whole answer is a dataset's mark of no answer, such as CANNOTANSWER, which no passage holds."""
    plain = row.answer.strip(" .!?\"'()[]{}<>—–-")
    return len(plain) < 32 and (not plain or plain.casefold() in names().no_answer) and not _held(row)


def _held(row: Triplet) -> bool:
    return any(char.isalnum() for char in row.answer) and is_verbatim(row.answer, row.context)


def judge(row: Triplet, rules: Rules, sentence: str) -> list[Finding]:
    """What the rules find in a row from `with_refusal_marked`, in the order of RULES; `sentence` is the refusal."""
    subject, findings = Subject(row, sentence), []
    for name, level, setting, check in rules.active[subject.kinds()]:
        if found := check(subject, setting):
            remedy = found.remedy or RULES[name].remedy
            findings.append(Finding(name, "warn" if found.warns else level, found.value, remedy))
    return findings


def limits(rules: Rules, rule: str) -> dict[str, float]:
    """A rule's limits by name; empty for a rule that only has a level."""
    setting = getattr(rules, rule, None)
    return setting.model_dump(exclude={"level"}) if isinstance(setting, Config) else {}


def description(rule: str) -> str:
    """What a rule judges, in a line."""
    field = Rules.model_fields.get(rule)
    return (field.description or "") if field else WITHOUT_LEVEL[rule]


EXCERPT = 200  # characters of an answer that a finding quotes
NAMED = 8  # words that a finding names as absent from the context


def is_verbatim(answer: str, passages: tuple[str, ...]) -> bool:
    """Whether a passage holds the answer as it is, between white space or the passage's ends; marks may follow it.

    Looks at the first place only, so that False means no more than "look closer".
    """
    stated = answer.rstrip(".")
    for passage in passages:
        start = passage.find(stated)
        if start == 0 or start > 0 and passage[start - 1].isspace():
            after = passage[start + len(stated) : start + len(stated) + 2]
            if not after.lstrip(".,;:") or after.lstrip(".,;:")[0].isspace():
                return True
    return False


def _control_tokens(subject: Subject, level: Level) -> Found | None:
    if "<" not in subject.text and "[" not in subject.text:
        return None
    found = [token for text in subject.texts for token in control_tokens(text)]
    thought = thoughts(subject.row.answer) + [token for token in found if "think" in token.lower()]
    remedy = "take out what was thought: only the answer is learnt" if thought else None
    found += thoughts(subject.row.answer)
    return Found(" ".join(dict.fromkeys(found)), remedy=remedy) if found else None


def _encoding(subject: Subject, level: Level) -> Found | None:
    trace = misdecoded(subject.text)
    return Found(trace) if trace else None


def _context_length(subject: Subject, limits: Ceiling) -> Found | None:
    return _length(sum(map(len, subject.row.context)), limits)


def _answer_length(subject: Subject, limits: Ceiling) -> Found | None:
    return _length(len(subject.row.answer), limits)


def _length(length: int, limits: Ceiling) -> Found | None:
    if length <= min(limits.reject_over, limits.warn_over):
        return None
    return Found(length, warns=length <= limits.reject_over)


def _refusal_wording(subject: Subject, level: Level) -> Found | None:
    answer = subject.row.answer
    return (
        Found(answer[:EXCERPT]) if subject.refuses and not leaks(answer, subject.sentence, code=subject.code) else None
    )


def _partial_refusal(subject: Subject, level: Level) -> Found | None:
    answer = subject.row.answer
    return Found(answer[:EXCERPT]) if subject.refuses and leaks(answer, subject.sentence, code=subject.code) else None


def _answerable_refusal(subject: Subject, limits: AnswerableRefusal) -> Found | None:
    row, view, least = subject.row, subject.view, limits.found_from
    if row.gold:
        return Found(f"gold names passage {row.gold[0]}")
    # Two upper bounds, at a thirtieth and at a fifth of the cost.
    if view.most_coverage(row.query) < least or (view.idf_coverage(row.query) or 0) < least:
        return None
    covered = view.best_window_idf_coverage(row.query)
    return Found(round(covered, 3)) if covered is not None and covered >= least else None


def _answer_language(subject: Subject, level: Level) -> Found | None:
    return Found(subject.row.answer[:EXCERPT]) if subject.is_foreign else None


def _absent_number(subject: Subject, level: Level) -> Found | None:
    row, view = subject.row, subject.view
    if view.spells(row.answer):
        return None
    claim = without_citations(shown(row.answer, subject.code), subject.code)
    found = view.absent_values(claim) + wrong_values(view, claim, row.query)
    beside = f"{view.text} {row.query}".casefold()
    for name in identifiers(claim, subject.code):
        spelled = [re.sub(r"(?<=[^\W\d])[-‐‑ ]?(?=\d)", joint, name.casefold()) for joint in ("-", "", " ")]
        found += [] if any(stands_in(each, beside) for each in (name.casefold(), *spelled)) else [name]
    return Found(", ".join(dict.fromkeys(found))) if found else None


def _absent_entity(subject: Subject, level: Level) -> Found | None:
    view, row = subject.view, subject.row
    names = view.unsupported_entities(row.answer, row.query) and view.unsupported_entities(subject.claim, row.query)
    return Found(", ".join(dict.fromkeys(names))) if names else None


def _k_precision(subject: Subject, limits: Floor) -> Found | None:
    return _grounding(subject, limits, ContextView.k_precision)


def _content_coverage(subject: Subject, limits: Floor) -> Found | None:
    if subject.coverage is None:
        is_yes_or_no = not subject.claim.strip() and any(map(str.isalnum, subject.row.answer))
        return None if is_yes_or_no else Found("no content word to look for", warns=True)
    return _grounding(subject, limits, lambda view, answer: subject.coverage)


def _bigram_coverage(subject: Subject, limits: Floor) -> Found | None:
    return _grounding(subject, limits, ContextView.bigram_coverage)


def _grounding(subject: Subject, limits: Floor, measure: Callable[[ContextView, str], float | None]) -> Found | None:
    answer, view, code = subject.judged, subject.view, subject.code
    said = answer.split() if code == ENGLISH else view.read(answer).words
    if len(said) < limits.from_words or subject.coverage is None:
        return None
    share = measure(view, answer)
    if share is None or share >= max(limits.reject_below, limits.warn_below) or subject.is_foreign:
        return None
    absent = [
        word for word in dict.fromkeys(view.read(answer).words) if not view.stems.issuperset(content([word], code))
    ]
    remedy = f"take out, or give the passage that says: {', '.join(absent[:NAMED])}" if absent else None
    known = language(code)
    # Another order or other forms of the context's words are worth a look, and no reason by themselves to lose a row.
    # Without a stemmer and stop words, other forms count as missing.
    asked = set(view.read(subject.row.query).content)
    content_stems = view.read(answer).content
    added = [each for each in content_stems if each not in asked]
    held = sum(each in asked or each in view.stems for each in content_stems) >= known.floor * len(content_stems)
    if len(added) > 2:  # repeating the question makes no answer of the context's: half of what it adds has to be there
        least = len(added) / 2 if known.segmentation == "characters" else 0
        held = held and sum(each in view.stems for each in added) > least
    return Found(round(share, 3), share >= limits.reject_below or held or not known.validated, remedy)


WITHOUT_LEVEL = {
    "malformed": "A row that is no JSON object in UTF-8, or has none of the forms",
    "empty_answer": "An empty answer, which is learnt as the refusal sentence (config: empty_answer)",
}
GROUND_IT = "say only what the context says, in its words, or give the passage that the answer came from"
RULES: dict[str, Rule] = {  # in this order rows are judged: a rejected row counts under the first that rejects it
    "malformed": Rule("write one JSON object per line, in one of the forms that the manual shows"),
    "empty_answer": Rule(
        "nothing, if the context holds no answer; else write it, or set validate.empty_answer: reject"
    ),
    "no_answer": Rule("write the refusal sentence, or answer; if it is the answer, set validate.rules.no_answer: off"),
    "repeated_key": Rule("write each key once"),
    "control_tokens": Rule("take the tokens out of the text, or write them with spaces", _control_tokens),
    "encoding": Rule("decode the source with its own encoding, then write UTF-8", _encoding),
    "context_length": Rule("keep the passages that matter, or raise the limit", _context_length),
    "answer_length": Rule("shorten the answer, or raise the limit", _answer_length),
    "refusal_wording": Rule(
        "write exactly the refusal sentence (config: refusal), or answer", _refusal_wording, "answer"
    ),
    "partial_refusal": Rule(
        "write the refusal sentence and nothing after it, or answer without refusing", _partial_refusal, "answer"
    ),
    "answerable_refusal": Rule(
        "answer the question if the context does, else ignore this", _answerable_refusal, "refusal"
    ),
    "answer_language": Rule("answer in the language of the context, or ignore this", _answer_language, "claim"),
    "absent_number": Rule(
        "check the number against the context; spell it as the context does", _absent_number, "answer"
    ),
    "k_precision": Rule(GROUND_IT, _k_precision, "claim"),
    "content_coverage": Rule(GROUND_IT, _content_coverage, "claim"),
    "bigram_coverage": Rule(GROUND_IT, _bigram_coverage, "claim"),
    "absent_entity": Rule("check the name against the context; spell it as the context does", _absent_entity, "answer"),
    "duplicate": Rule("remove one of the two"),
    "conflict": Rule("keep the answer that is right"),
    "repeated_id": Rule("give each row an id of its own, or none"),
}
