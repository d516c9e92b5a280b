"""Questions about a context as people write them into prompts and chats, in the words of `forms.yaml`."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from tasks.data.names import names
from tasks.data.parsing import Malformed, shorten

ASKED = "Context: {the passage}\\nQuestion: {the question}"
CHAT = '[{"role": "user", "content": "' + ASKED + '"}, {"role": "assistant", "content": "{the answer}"}]'
TAGGED = re.compile(
    r"<(context|contexts|passages?|documents?|doc|chunk|excerpt|source|text|article)\b[^>]*>(.*?)</\1>", re.I | re.S
)
QUESTION_TAG = re.compile(r"<(question|query|user_query)>(.*?)</\1>", re.I | re.S)
FENCE = re.compile(r'^[ \t]*(?:-{3,}|={3,}|\*{3,}|"{3}|`{3,}|#{5,})[ \t]*$', re.M)
Turn = tuple[str, str]  # (role, text)


class Content(NamedTuple):
    """The parts of a row that make a triplet, white space trimmed."""

    query: str
    context: tuple[str, ...]
    answer: str
    history: tuple[Turn, ...] = ()  # the questions and answers before, in order
    unused: frozenset[str] = frozenset()
    titles: tuple[str | None, ...] = ()  # of the passages


def conversation(messages: object, field: str) -> Content:
    """The last answer, the question before it, and the context that stands there or in the turns before.

    The context is looked for in the question, then in what tools gave after it, in the system's turns, and in earlier
    questions. Raises Malformed, saying what stands where.
    """
    if not isinstance(messages, list) or not messages:
        what = "an empty list" if messages == [] else f"{type(messages).__name__}, not a list of messages"
        raise Malformed(f"{field}: {what}", f"write {CHAT}")
    unused: set[str] = set()
    turns = [_turn(message, field, unused) for message in messages]
    spoken = [turn for turn in turns if turn.role in ("user", "assistant") and not turn.calls]
    roles = [turn.role for turn in turns]
    if [turn.role for turn in spoken[-2:]] != ["user", "assistant"] or roles[-1] != "assistant" or turns[-1].calls:
        raise Malformed(f"{field}: the roles are {', '.join(roles)}", "end with a user's turn and its answer")
    question, answer = str(spoken[-2].text), answer_of(spoken[-1].text)
    if not answer:
        raise Malformed(
            f"{field}: the last assistant content is empty",
            "write the answer, or the refusal sentence where the context holds none",
        )
    last = max(at for at, turn in enumerate(turns) if turn is spoken[-2])
    systems = [turn.text for turn in turns[:last] if turn.role == "system"]
    found = question_of(question)
    context: Sequence[str] = ()
    if found and all(found):
        question, context = found[0], [found[1]]
    else:
        tools = [turn.text for turn in turns[last:] if turn.role == "tool" and turn.text]
        before = [question_of(turn.text) for turn in spoken[-3::-1] if turn.role == "user"]
        earlier = [asked[1] for asked in before if asked]
        told = [text for system in systems if (text := context_of(system))]
        context = tools or told or earlier[:1]
        question = _without_label(question)
    if not question or not context:
        held = ", ".join(f"{turn.role}: {shorten(turn.text, 40)!r}" for turn in turns[-4:])
        lacks = "question" if not question else "context"
        raise Malformed(f"{field}: no {lacks} in {held}", f"write {ASKED} as the user's content")
    said = [(turn.role, (question_of(turn.text) or (turn.text,))[0]) for turn in spoken[:-2] if turn.text]
    history, left_out = in_turn(said)
    spoke = {id(turn) for turn in spoken}
    unused |= left_out | {
        f"{turn.role} turns before the question"
        for turn in turns[:last]
        if id(turn) not in spoke and not (turn.role == "system" and list(context) == [context_of(turn.text)])
    }
    return Content(question, tuple(context), answer, history, frozenset(unused))


def in_turn(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], set[str]]:
    """Questions and answers in turn, as chat templates want them, and the names of what is left out for that.

    What one says in several turns is one turn; an answer before any question and a question without an answer go.
    """
    joined: list[Turn] = []
    for role, text in turns:
        if joined and joined[-1][0] == role:
            joined[-1] = role, f"{joined[-1][1]}\n\n{text}"
        else:
            joined.append((role, text))
    unused = set()
    if joined and joined[0][0] == "assistant":
        del joined[0]
        unused.add("assistant turns before any question")
    if joined and joined[-1][0] == "user":
        del joined[-1]
        unused.add("user turns without an answer")
    return tuple(joined), unused


class _Said(NamedTuple):
    role: str
    text: str
    calls: bool  # a tool, and says nothing else


def _turn(message: object, field: str, unused: set[str]) -> _Said:
    if not isinstance(message, dict):
        raise Malformed(f"{field}: {shorten(repr(message))} as a message", f"write {CHAT}")
    said = str(message.get("role", message.get("from"))).lower()
    role = names().roles.get(said, said)
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        others = {part.get("type") if isinstance(part, dict) else type(part).__name__ for part in content}
        unused |= {f"{kind} parts" for kind in others - {"text", "input_text", "output_text"}}
        if not texts:
            raise Malformed(f"{field}: a content of {', '.join(map(str, others))} alone", "write a text")
        content = "".join(texts)
    calls = bool(message.get("tool_calls") or message.get("function_call")) and not content
    if content is not None and not isinstance(content, str):
        raise Malformed(f"{field}: {shorten(repr(content))} as a content", "write every content as a text")
    return _Said(role, (content or "").strip(), calls)


def turns_of(text: str) -> list[dict[str, Any]] | None:
    """The messages of a chat that a template has made one text of; None if it is none that is known."""
    for pattern in names().chats:
        if found := [match.groupdict() for match in pattern.finditer(text)]:
            return [{"role": turn["role"], "content": turn["text"]} for turn in found]
    turns = []
    for asked in text.split("[INST]")[1:]:
        question, closed, answer = asked.partition("[/INST]")
        if closed:
            system, _, rest = question.partition("<</SYS>>")
            if rest:
                turns.append({"role": "system", "content": system.replace("<<SYS>>", "")})
            answer = answer.strip().removesuffix("<s>").rstrip().removesuffix("</s>")
            turns += [{"role": "user", "content": rest or question}, {"role": "assistant", "content": answer}]
    return turns or None


def question_of(prompt: str) -> tuple[str, str] | None:
    """Query and context of a prompt, in either order, or None where it has none of these forms.

    ``Context: {context}\\nQuestion: {query}``, the labels as people of many languages write them; tags around passages;
    a context between two rules of dashes. The wrapper's own ``<s>``, ``[INST]``, ``<<SYS>>…<</SYS>>``, ``[/INST]``, a
    closing ``Answer:`` and an instruction before the first label are taken off. The last question that starts a line
    divides.
    """
    text = prompt.strip().removeprefix("<s>").lstrip().removeprefix("[INST]").lstrip()
    if text.startswith("<<SYS>>"):
        text = text.partition("<</SYS>>")[2].lstrip()
    text = text.removesuffix("Answer:").rstrip().removesuffix("[/INST]").rstrip()
    if not text.startswith("Context:"):
        text = text[text.find("\nContext:") + 1 :]
    before, divided, query = text.rpartition("\nQuestion:")
    if divided and before.startswith("Context:"):
        return query.strip(), before.removeprefix("Context:").strip()
    return _question_elsewhere(prompt.strip())


def _question_elsewhere(text: str) -> tuple[str, str] | None:
    labels = _labels()
    text = labels.ending.sub("", text).rstrip()
    tagged = TAGGED.findall(text)
    asked = QUESTION_TAG.search(text)
    questions = [match for match in labels.question.finditer(text)]
    if tagged:
        rest = text[max(match.end() for match in TAGGED.finditer(text)) :].strip()
        query = asked[2] if asked else text[questions[-1].end() :] if questions else rest
        return query.strip(), "\n\n".join(passage.strip() for _, passage in tagged)
    fences = list(FENCE.finditer(text))
    if len(fences) > 1 and questions:
        return text[questions[-1].end() :].strip(), text[fences[0].end() : fences[1].start()].strip()
    context = labels.context.search(text)
    if context:
        behind = [match for match in questions if match.start() > context.start()]
        if behind:
            return text[behind[-1].end() :].strip(), text[context.end() : behind[-1].start()].strip()
        if questions:
            return text[questions[0].end() : context.start()].strip(), text[context.end() :].strip()
    one_line = labels.one_line.fullmatch(text)
    return (one_line[2].strip(), one_line[1].strip()) if one_line else None


def context_of(text: str) -> str | None:
    """The context in a turn that asks nothing: between tags or rules, or behind its label."""
    if tagged := TAGGED.findall(text):
        return "\n\n".join(passage.strip() for _, passage in tagged)
    fences = list(FENCE.finditer(text))
    if len(fences) > 1:
        return text[fences[0].end() : fences[1].start()].strip()
    label = _labels().context.search(text) or _labels().context_inside.search(text)
    return (text[label.end() :].strip() or None) if label else None


def _without_label(question: str) -> str:
    label = _labels().question.match(question)
    return question[label.end() :].strip() if label else question


def answer_of(completion: str) -> str:
    """The answer of ``Answer: {answer}</s>``, of which ``Answer:`` and ``</s>`` may be absent."""
    return completion.strip().removesuffix("</s>").rstrip().removeprefix("Answer:").strip()


class _Labels(NamedTuple):
    context: re.Pattern[str]
    question: re.Pattern[str]
    ending: re.Pattern[str]  # a label of the answer, at the end
    one_line: re.Pattern[str]  # context and query, divided by labels alone
    context_inside: re.Pattern[str]  # a label anywhere


@cache
def _labels() -> _Labels:
    known = {
        kind: "|".join(map(re.escape, sorted(labels, key=len, reverse=True))) for kind, labels in names().labels.items()
    }
    colon = r"[ \t]*(?:\([^)\n]{1,20}\)|\d{1,2})?[ \t]*[*_]*[ \t]*[:：][*_]*[ \t]*"
    context, question, answer = known["context"], known["question"], known["answer"]
    flags = re.I | re.M
    return _Labels(
        re.compile(rf"^[ \t]*[#>*_]*[ \t]*(?:{context}){colon}|^[ \t]*#+[ \t]*(?:{context})[ \t]*$", flags),
        re.compile(rf"^[ \t]*[#>*_]*[ \t]*(?:{question}){colon}|^[ \t]*#+[ \t]*(?:{question})[ \t]*$", flags),
        re.compile(rf"(?:^|(?<=\s))[#>*_]*[ \t]*(?:{answer})[ \t]*[*_]*[ \t]*[:：][*_]*\s*\Z", flags),
        re.compile(
            rf"(?:.*?[\s.])?(?:{context})[ \t]*[:：]\s*(.*\S)(?:\s+|(?<=[。．！？]))(?:{question})[ \t]*[:：]\s*(.*\S)",
            re.I | re.S,
        ),
        re.compile(rf"\b(?:{context})[ \t]*[:：]\s*", re.I),
    )
