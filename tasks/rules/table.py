"""The rules in one place: what each judges, its level, its thresholds, and how an author mends what it finds.

Percentiles are of answers that people wrote to Wikipedia passages; relax them where answers are abstractive.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from tasks.versioning.step import Config

Level = Literal["reject", "warn", "off"]  # of a rule with two thresholds, "warn" makes its rejects warnings
Share = Annotated[float, Field(ge=0, le=1)]


class Finding(NamedTuple):
    """What a rule has to say about a row."""

    rule: str  # a key of REMEDIES
    level: Literal["reject", "warn"]
    value: str | float  # what was found, or measured
    remedy: str


class Floor(Config):
    level: Level = "reject"
    reject_below: Share
    warn_below: Share
    from_words: NonNegativeInt  # a shorter answer has too few words to be judged by


class KPrecision(Floor):
    reject_below: Share = 0.65  # 1st percentile; of hard wrong contexts, 95 % lie under .61
    warn_below: Share = 0.86
    from_words: NonNegativeInt = 8  # "It is 5 bar." has two words of its own, which say nothing


class ContentCoverage(Floor):
    reject_below: Share = 0.67
    warn_below: Share = 0.86
    from_words: NonNegativeInt = 1


class BigramCoverage(Floor):
    reject_below: Share = 0.40
    warn_below: Share = 0.57
    from_words: NonNegativeInt = 8


class AnswerableRefusal(Config):
    level: Level = "warn"
    found_from: Share = 0.8  # 3 % of unanswerable questions about Wikipedia passages reach it


class Ceiling(Config):
    level: Level = "reject"
    reject_over: NonNegativeInt
    warn_over: NonNegativeInt


class ContextLength(Ceiling):
    reject_over: NonNegativeInt = 400_000  # about 100,000 tokens
    warn_over: NonNegativeInt = 32_000


class AnswerLength(Ceiling):
    reject_over: NonNegativeInt = 16_000
    warn_over: NonNegativeInt = 4_000


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
