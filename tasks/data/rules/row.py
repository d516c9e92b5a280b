"""Rules that judge one row by itself: a pure function of the row and the config."""

from collections.abc import Callable

from tasks.data.rules.table import REMEDIES, AnswerableRefusal, Ceiling, Finding, Floor, Level, Rules
from tasks.data.rules.tokens import control_tokens
from tasks.data.triplets import Triplet
from tasks.text import ContextView, content_stems, is_refusal, leaks, words

MISDECODED = {  # what a wrong decoding leaves behind
    "\0": "a NUL character",
    "\ufffd": "U+FFFD, for bytes that were no character",
    "â€": "â€, UTF-8 read as Windows-1252",
    "Ã©": "Ã©, UTF-8 read as Windows-1252",
}
GROUNDING: dict[str, Callable[[ContextView, str], float | None]] = {
    "k_precision": ContextView.k_precision,
    "content_coverage": ContextView.content_coverage,
    "bigram_coverage": ContextView.bigram_coverage,
}
EXCERPT = 200  # characters of an answer that a finding quotes
NAMED = 8  # words that a finding names as absent from the context


def settle(row: Triplet, sentence: str) -> Triplet:
    """The row, made a refusal row if its answer is empty or is the refusal `sentence`, however spelt."""
    answer = row.answer
    if not answer or (len(answer) <= len(sentence) + 8 and words(answer) == words(sentence)):
        return row._replace(answer=sentence, refusal=True)
    return row


def judge(row: Triplet, rules: Rules, sentence: str) -> list[Finding]:
    """What the rules find in a settled row, in the order of REMEDIES; `sentence` is the refusal sentence."""
    found = _Findings()
    _judge_text(row, rules, found)
    if row.refusal:
        _judge_refusal(row, rules.answerable_refusal, found)
        return found.all
    if verbatim(row.answer, row.context):  # then every measure of grounding is perfect, and it is no refusal
        return found.all
    refuses = is_refusal(row.answer, sentence)
    if refuses and leaks(row.answer, sentence):
        found.add("partial_refusal", rules.partial_refusal, row.answer[:EXCERPT])
    elif refuses:
        found.add("refusal_wording", rules.refusal_wording, row.answer[:EXCERPT])
    view = ContextView(row.context)
    if rules.absent_number != "off" and (numbers := view.unsupported_numbers(row.answer)):
        found.add("absent_number", rules.absent_number, ", ".join(dict.fromkeys(numbers)))
    if not refuses:  # a refusal's words are about the context, not from it
        _judge_grounding(row, rules, view, found)
    if rules.absent_entity != "off" and (names := view.unsupported_entities(row.answer, query=row.query)):
        found.add("absent_entity", rules.absent_entity, ", ".join(dict.fromkeys(names)))
    return found.all


class _Findings:
    def __init__(self) -> None:
        self.all: list[Finding] = []

    def add(self, rule: str, level: Level, value: str | float, remedy: str | None = None) -> None:
        if level != "off":
            self.all.append(Finding(rule, level, value, remedy or REMEDIES[rule]))

    def add_length(self, rule: str, limits: Ceiling, length: int) -> None:
        if length > limits.reject_over:
            self.add(rule, limits.level, length)
        elif length > limits.warn_over and limits.level != "off":
            self.add(rule, "warn", length)


def _judge_text(row: Triplet, rules: Rules, found: _Findings) -> None:
    tokens, traces = [], []
    for text in (row.query, row.answer, *row.context):
        tokens += control_tokens(text)
        if not text.isascii() or "\0" in text:
            traces += [name for trace, name in MISDECODED.items() if trace in text]
    if tokens:
        found.add("control_tokens", rules.control_tokens, " ".join(dict.fromkeys(tokens)))
    if traces:
        found.add("encoding", rules.encoding, "; ".join(dict.fromkeys(traces)))
    found.add_length("context_length", rules.context_length, sum(map(len, row.context)))
    found.add_length("answer_length", rules.answer_length, len(row.answer))


def _judge_refusal(row: Triplet, limits: AnswerableRefusal, found: _Findings) -> None:
    if limits.level == "off":
        return
    if row.gold:
        found.add("answerable_refusal", limits.level, f"gold names passage {row.gold[0]}")
        return
    view = ContextView(row.context)
    # Two upper bounds, at a thirtieth and at a fifth of the cost.
    if view.most_coverage(row.query) < limits.found_from or (view.idf_coverage(row.query) or 0) < limits.found_from:
        return
    covered = view.best_window_idf_coverage(row.query)
    if covered is not None and covered >= limits.found_from:
        found.add("answerable_refusal", limits.level, round(covered, 3))


def _judge_grounding(row: Triplet, rules: Rules, view: ContextView, found: _Findings) -> None:
    if view.content_coverage(row.answer) is None:  # "Yes." cannot be looked for in a context
        if rules.content_coverage.level != "off":
            found.add("content_coverage", "warn", "no content word to look for")
        return
    length = len(row.answer.split())
    for rule, measure in GROUNDING.items():
        limits: Floor = getattr(rules, rule)
        if limits.level == "off" or length < limits.from_words or (share := measure(view, row.answer)) is None:
            continue
        if share < limits.reject_below:
            found.add(rule, limits.level, round(share, 3), _take_out(row.answer, view))
        elif share < limits.warn_below:
            found.add(rule, "warn", round(share, 3), _take_out(row.answer, view))


def _take_out(answer: str, view: ContextView) -> str | None:
    absent = [word for word in dict.fromkeys(words(answer)) if not view.stems.issuperset(content_stems(word))]
    return f"take out, or give the passage that says: {', '.join(absent[:NAMED])}" if absent else None


def verbatim(answer: str, passages: tuple[str, ...]) -> bool:
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
