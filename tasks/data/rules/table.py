"""The rules in one place: what each judges, its level, its thresholds, and how an author mends what it finds.

Percentiles are of answers that people wrote to Wikipedia passages; relax them where answers are abstractive.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from tasks.engine.step import Config

Level = Literal["reject", "warn", "off"]  # of a rule with two thresholds, "warn" makes its rejects warnings
Share = Annotated[float, Field(ge=0, le=1)]


class Finding(NamedTuple):
    """What a rule has to say about a row."""

    rule: str  # a key of REMEDIES
    level: Literal["reject", "warn"]
    value: str | float  # what was found, or measured
    remedy: str


OfTwo = Annotated[Level, Field(description="off: not judged. warn: rows to be rejected are kept, with a warning.")]
RejectBelow = Annotated[Share, Field(description="Rows below this share are rejected.")]
WarnBelow = Annotated[Share, Field(description="And below this share there is a warning.")]
FromWords = Annotated[NonNegativeInt, Field(description="Shorter answers have too few words to be judged by.")]
RejectOver = Annotated[NonNegativeInt, Field(description="Rows with more characters are rejected.")]
WarnOver = Annotated[NonNegativeInt, Field(description="And over so many there is a warning.")]


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

    control_tokens: Level = Field("reject", description="A chat template's tokens, such as </s>, inside the data")
    encoding: Level = Field("warn", description="Traces of a wrong decoding: U+FFFD, NUL, UTF-8 read as Windows-1252")
    context_length: ContextLength = Field(ContextLength(), description="Characters of all passages together")
    answer_length: AnswerLength = Field(AnswerLength(), description="Characters of the answer")
    refusal_wording: Level = Field("warn", description="A refusal in other words than the refusal sentence")
    partial_refusal: Level = Field("warn", description="A refusal that answers all the same")
    answerable_refusal: AnswerableRefusal = Field(
        AnswerableRefusal(),
        description="A refusal whose context looks answering: IDF share of the query in its best two sentences",
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


def limits(rules: Rules, rule: str) -> dict[str, float]:
    """A rule's thresholds by name; none for a rule that only has a level."""
    setting = getattr(rules, rule, None)
    return setting.model_dump(exclude={"level"}) if isinstance(setting, Config) else {}


def judged(rule: str) -> str:
    """What a rule judges, in a line."""
    field = Rules.model_fields.get(rule)
    return (field.description or "") if field else OTHER_RULES[rule]


OTHER_RULES = {  # those without a level
    "malformed": "A row that is no JSON object in UTF-8, or has none of the forms",
    "empty_answer": "An answer of no characters (config: empty_answer)",
}
GROUND_IT = "say only what the context says, in its words, or give the passage that the answer came from"
REMEDIES = {  # in the order in which a row is judged: a rejected row counts under the first rule that rejects it
    "malformed": "write one JSON object per line, in one of the forms that the manual shows",
    "empty_answer": "write the refusal sentence where the context holds no answer",
    "control_tokens": "take the tokens out of the text, or write them with spaces",
    "encoding": "decode the source with its own encoding, then write UTF-8",
    "context_length": "keep the passages that matter, or raise the limit",
    "answer_length": "shorten the answer, or raise the limit",
    "refusal_wording": "write exactly the refusal sentence (config: refusal), or answer",
    "partial_refusal": "write the refusal sentence and nothing after it, or answer without refusing",
    "answerable_refusal": "answer the question if the context does, else ignore this",
    "absent_number": "check the number against the context; spell it as the context does",
    "k_precision": GROUND_IT,
    "content_coverage": GROUND_IT,
    "bigram_coverage": GROUND_IT,
    "absent_entity": "check the name against the context; spell it as the context does",
    "duplicate": "remove one of the two",
    "conflict": "keep the answer that is right",
}
