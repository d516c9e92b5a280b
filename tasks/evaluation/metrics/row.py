"""One answer to one question, as the metrics see it."""

from dataclasses import dataclass
from itertools import chain

from tasks.text import ContextView, claims, is_refusal, words
from tasks.text.cached import cached_property
from tasks.text.checks import in_notation, shown
from tasks.text.citations import cited_sentences, numbered, without_citations
from tasks.text.refusal import without_label
from tasks.text.values import aligned, terms


@dataclass(frozen=True, eq=False)
class Row:
    """A question, its context, an answer to it, and what is known of the right one. Read once, measured often."""

    query: str
    context: ContextView
    answer: str
    reference: str = ""  # the right answer; the refusal sentence where `should_abstain`
    aliases: tuple[str, ...] = ()  # other right answers
    should_abstain: bool = False  # the context holds no answer
    value: str | None = None  # what a right answer contains, if it is known
    refusal: str | None = None  # the fixed refusal sentence, if there is one
    truncated: bool = False  # the answer hit the limit of new tokens
    threshold: float = 0.48  # of support, under which an answer counts as hallucinated

    @cached_property
    def answer_words(self) -> list[str]:
        return self.context.read(self.answer).words

    @cached_property
    def reference_words(self) -> list[str]:
        return words(self.reference, self.context.code)

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The right answers, the first the author's own."""
        return tuple(filter(str.strip, (self.reference, *self.aliases)))

    @cached_property
    def compared(self) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """The terms of the answer, its values spelled as in the reference, and those of each reference."""
        return self.compared_with(articles=False)

    def compared_with(self, *, articles: bool) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """The same, with articles or without."""
        code = self.context.code
        answer = without_label(self.answer, code)
        return [
            (terms(aligned(answer, each, code), code, articles=articles), terms(each, code, articles=articles))
            for each in self.references
        ]

    @cached_property
    def is_foreign(self) -> bool:
        """Whether the answer is in another language than the context, so that support by words does not apply."""
        return self.context.is_foreign(self.answer)

    @cached_property
    def abstained(self) -> bool:
        return is_refusal(self.answer, self.refusal, self.context)

    @cached_property
    def claims(self) -> list[str]:
        """What of the answer can be checked, its values spelled as in the context; of a clean refusal, nothing."""
        return [in_notation(self.context, each) for each in self.stated]

    @cached_property
    def stated(self) -> list[str]:
        """The claims in the answer's own spelling."""
        return claims(self.plain, self.refusal, self.context)

    @cached_property
    def plain(self) -> str:
        """The answer without citations, markup and courtesies."""
        code = self.context.code
        return without_citations(shown(self.answer, code), code)

    @cached_property
    def leaks(self) -> bool:
        """Whether it refuses and then claims something all the same."""
        return self.abstained and bool(self.claims)

    @cached_property
    def cited(self) -> list[tuple[str, list[int]]]:
        """Its sentences with the numbers of the passages that they cite."""
        return cited_sentences(self.answer, self.context.code)

    @cached_property
    def numbered(self) -> dict[int, str]:
        """The context's passages by their numbers, if they are numbered."""
        return numbered(self.context.passages, self.context.code)

    @cached_property
    def absent_numbers(self) -> list[list[str]]:
        """Of each claim, the numbers that the context does not state."""
        more = [f"{claim}\n" for claim in self.claims[:-1]]  # in a line of its own before others, "5." is a list marker
        return list(map(self.context.unsupported_numbers, [*more, *self.claims[-1:]]))

    @cached_property
    def absent_names(self) -> list[list[str]]:
        """Of each claim, the names that stand neither in the context nor in the question."""
        return [self.context.unsupported_entities(claim, self.query) for claim in self.claims]

    @property
    def unsupported_numbers(self) -> list[str]:
        return list(chain.from_iterable(self.absent_numbers))

    @property
    def unsupported_entities(self) -> list[str]:
        return list(chain.from_iterable(self.absent_names))
