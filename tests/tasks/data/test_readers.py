"""Files of a source, lines of a file, forms of a row."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.data import readers as files_module
from tasks.data.forms import RowFormat, parse
from tasks.data.parsing import Malformed, loads, repeated_keys
from tasks.data.readers import expand, read_lines
from tasks.engine.errors import UserError

CONTEXT = "The pump runs at 1450 rpm. Its seal is made of nitrile."
QUERY = "What is the seal made of?"
ANSWER = "The seal is made of nitrile."
ASKED = f"Context: {CONTEXT}\nQuestion: {QUERY}"

COURSE_ROW = r"""{
"text": "<s>[INST] Context: The Llama 2 family of models includes versions with 7B, 13B, and 70B parameters. LoRA fine-tuning is effective for adapting these models to specific tasks while keeping most weights frozen. For the 7B model, a LoRA rank (r) of 8 or 16 is often a good starting point. \nQuestion: What LoRA rank is suggested for Llama 2 7B? [/INST]\nAnswer: For the Llama 2 7B model, a LoRA rank of 8 or 16 is often a good starting point for fine-tuning.</s>"
}
"""  # noqa: E501
COURSE_TRIPLET = (
    "What LoRA rank is suggested for Llama 2 7B?",
    (
        "The Llama 2 family of models includes versions with 7B, 13B, and 70B parameters. LoRA fine-tuning is "
        "effective for adapting these models to specific tasks while keeping most weights frozen. For the 7B model, a "
        "LoRA rank (r) of 8 or 16 is often a good starting point.",
    ),
    "For the Llama 2 7B model, a LoRA rank of 8 or 16 is often a good starting point for fine-tuning.",
)


def compressed(suffix: str, data: bytes) -> bytes:
    zstd = pa.Codec("zstd")
    return {"": bytes, ".gz": gzip.compress, ".zst": lambda plain: zstd.compress(plain, asbytes=True)}[suffix](data)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_are_numbered_from_one_and_blank_ones_skipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(compressed(suffix, b'\xef\xbb\xbf{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}'))
    assert list(read_lines(path)) == [(1, b'{"a":1}'), (4, b'{"b":2}'), (5, b'{"c":3}')]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_written_one_behind_the_other_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "rows.jsonl"  # the content decides, not the name
    path.write_bytes(compressed(suffix, b'{"a":1}\n') + compressed(suffix, b'{"b":2}\n'))
    assert [line for _, line in read_lines(path)] == [b'{"a":1}', b'{"b":2}']


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_that_is_cut_off_is_an_error_not_a_short_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    whole = compressed(suffix, b"".join(b'{"row":%d}\n' % (row * row) for row in range(5_000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"rows\.jsonl.*cannot be read"):
        list(read_lines(path))


def test_an_object_printed_over_several_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{\n  "b": [\n    {\n    }\n  ]\n}\n{"c": 3}\n')
    assert [(line, json.loads(raw)) for line, raw in read_lines(path)] == [
        (1, {"a": 1}),
        (2, {"b": [{}]}),
        (8, {"c": 3}),
    ]


def test_an_object_that_is_never_closed_takes_no_other_row_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{\n  "a": 1,\n{"b": 2}\n{\n  "c": 3')
    assert list(read_lines(path)) == [(1, b'{\n  "a": 1,'), (3, b'{"b": 2}'), (4, b'{\n  "c": 3')]


def test_a_line_too_long_to_be_a_row_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "MAX_LINE", 100)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"b": "' + "x" * 200 + '"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:2"):
        list(read_lines(path))


def test_an_object_over_several_lines_has_no_more_bytes_than_a_line_may_have(tmp_path, monkeypatch):
    """Ten thousand lines, each just short enough, would fill the memory, and compress to nothing."""
    monkeypatch.setattr(files_module, "MAX_LINE", 100)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"{\n" + (b" " * 60 + b"1,\n") * 1_000 + b"}\n"))
    assert max(len(row) for _, row in read_lines(path)) < 200


def test_a_line_that_unpacks_to_more_than_a_row_may_have_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(bytes(70 << 20), compresslevel=1))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="a line of over 64 MiB"):
        list(read_lines(path))


def test_expand_finds_one_file_a_folder_and_a_glob(tmp_path: Path) -> None:
    names = ["b.jsonl", "a.jsonl.gz", "deep/c.jsonl.zst", "deep/d.ndjson", "notes.txt", ".hidden.jsonl"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "empty.jsonl").touch()

    def found(source: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in expand(source)]

    assert found(f"{tmp_path}/notes.txt") == ["notes.txt"]
    assert found(str(tmp_path)) == ["a.jsonl.gz", "b.jsonl", "deep/c.jsonl.zst", "deep/d.ndjson"]
    assert found(f"{tmp_path}/*.jsonl*") == ["a.jsonl.gz", "b.jsonl"]
    assert found(f"{tmp_path}/**/*.zst") == ["deep/c.jsonl.zst"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jsonl", "no such file or folder"),
        ("folder", "no .jsonl"),
        ("*.jsonlines", "no file matches"),
        ("empty.jsonl", "the file is empty"),
        ("empty*", "all files are empty"),
    ],
)
def test_expand_says_why_it_found_nothing(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=message):
        expand(str(tmp_path / source))


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def assistant(content: object) -> dict[str, object]:
    return {"role": "assistant", "content": content}


def system(content: object) -> dict[str, object]:
    return {"role": "system", "content": content}


IMAGE = {"type": "image_url", "image_url": {"url": "pump.png"}}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "search"}}]}


FORMS = {
    "triplet": {"query": QUERY, "context": [CONTEXT], "answer": ANSWER},
    "one passage as text": {"query": f" {QUERY}\n", "context": CONTEXT + " ", "answer": f"{ANSWER} "},
    "text": {"text": f"<s>[INST] {ASKED} [/INST]\nAnswer: {ANSWER}</s>"},
    "text, bare tags": {"text": f"[INST]{ASKED}[/INST] {ANSWER}"},
    "text, system prompt": {"text": f"<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n{ASKED} [/INST] {ANSWER} </s>"},
    "prompt": {"prompt": ASKED, "completion": ANSWER},
    "prompt up to the answer": {"prompt": f"<s>[INST] {ASKED} [/INST]\nAnswer:", "completion": f" {ANSWER}</s>"},
    "prompt with an instruction": {"prompt": f"Use only the context.\n\n{ASKED}\nAnswer:", "completion": ANSWER},
    "conversational prompt": {"prompt": [user(ASKED)], "completion": [assistant(ANSWER)]},
    "messages": {"messages": [{"role": "system", "content": "Be brief."}, user(ASKED), assistant(ANSWER)]},
    "messages in parts": {"messages": [user([{"type": "text", "text": ASKED}]), assistant(ANSWER)]},
    "context in the system turn": {
        "messages": [system(f"Be brief.\n\nContext: {CONTEXT}"), user(QUERY), assistant(ANSWER)]
    },
    "context from a tool": {"messages": [user(QUERY), CALL, {"role": "tool", "content": CONTEXT}, assistant(ANSWER)]},
    "an image beside the question": {"messages": [user([IMAGE, {"type": "text", "text": ASKED}]), assistant(ANSWER)]},
    "messages alone": [user(ASKED), assistant(ANSWER)],
    "roles by other names": {"messages": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWER}]},
    "question before context": {"prompt": f"Question: {QUERY}\n\nContext:\n{CONTEXT}\n\nAnswer:", "completion": ANSWER},
    "on one line": {"prompt": f"Context: {CONTEXT} Question: {QUERY} Answer:", "completion": ANSWER},
    "between rules": {
        "prompt": f"Context is below.\n-----\n{CONTEXT}\n-----\nQuery: {QUERY}\nAnswer: ",
        "completion": ANSWER,
    },
    "between tags": {"prompt": f"<context>\n{CONTEXT}\n</context>\n\n{QUERY}", "completion": ANSWER},
    "under headings": {"prompt": f"### Context\n{CONTEXT}\n\n### Question\n{QUERY}", "completion": ANSWER},
    "German labels": {"prompt": f"Kontext: {CONTEXT}\nFrage: {QUERY}\nAntwort:", "completion": ANSWER},
    "Chinese labels": {"prompt": f"资料：{CONTEXT}\n问题：{QUERY}\n回答：", "completion": ANSWER},
    "ChatML": {"text": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>\n"},
    "Gemma's text": {"text": f"<start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n{ANSWER}<end_of_turn>"},
    "Alpaca's text": {"text": f"### Instruction:\n{QUERY}\n\n### Input:\n{CONTEXT}\n\n### Response:\n{ANSWER}"},
    "a passage as an object": {"query": QUERY, "context": [{"page_content": CONTEXT, "score": 1}], "answer": ANSWER},
    "a passage in sentences": {"query": QUERY, "context": [["pump", [CONTEXT[:31], CONTEXT[31:]]]], "answer": ANSWER},
}
CHAT = {
    "messages": [user(ASKED), assistant(ANSWER), user("And how fast does it run?"), assistant("It runs at 1450 rpm.")]
}
PRESETS: dict[
    str, tuple[dict[str, Any], dict[str, Any]]
] = {  # a row, and what is read beside query, context and answer
    "ragas": ({"user_input": QUERY, "retrieved_contexts": [CONTEXT], "response": "?", "reference": ANSWER}, {}),
    "alpaca": ({"instruction": QUERY, "input": CONTEXT, "output": ANSWER}, {}),
    "dolly": ({"instruction": QUERY, "context": CONTEXT, "response": ANSWER, "category": "closed_qa"}, {}),
    "sharegpt": ({"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWER}]}, {}),
    "squad": (
        {"id": "s1", "title": "Pumps", "context": CONTEXT, "question": QUERY, "answers": {"text": [ANSWER, "x"]}},
        {"id": "s1", "document": "Pumps"},
    ),
    "hotpotqa": (
        {
            "_id": "h1",
            "question": QUERY,
            "context": {"title": ["pump"], "sentences": [[CONTEXT]]},
            "supporting_facts": {"title": ["pump"], "sent_id": [0]},
            "answer": ANSWER,
        },
        {"id": "h1", "gold": (0,)},
    ),
    "ms_marco": (
        {
            "query": QUERY,
            "query_id": 3,
            "passages": {"passage_text": [CONTEXT], "is_selected": [1]},
            "answers": [ANSWER],
        },
        {"id": "3", "gold": (0,)},
    ),
    "raft": (
        {
            "question": QUERY,
            "context": {"sentences": [[CONTEXT]], "title": [["placeholder"]]},
            "oracle_context": CONTEXT,
            "cot_answer": f"##begin_quote## {CONTEXT} ##end_quote## <ANSWER>: {ANSWER}",
        },
        {"gold": (0,)},
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_the_rows_of_others_and_without_it_they_are_told_of_it(name: Any) -> None:
    row, beside = PRESETS[name]
    read = parse(row, RowFormat(format=name)).row
    assert (read.query, read.context, read.answer) == (QUERY, (CONTEXT,), ANSWER)
    assert {field: getattr(read, field) for field in beside} == beside
    with pytest.raises(Malformed) as raised:
        parse(row)
    assert raised.value.remedy.endswith(f"set data.format: {name}")


@pytest.mark.parametrize("name", ["squad", "ms_marco"])
def test_no_right_answer_in_a_preset_is_an_empty_one(name: Any) -> None:
    row = PRESETS[name][0] | {"answers": {"text": []} if name == "squad" else []}
    assert parse(row, RowFormat(format=name)).row.answer == ""


def test_fields_of_other_names_are_mapped_and_the_nearest_are_named() -> None:
    row = {"Question": QUERY, "Passages": [CONTEXT], "Answer": ANSWER, "meta": {"source": "manual"}}
    with pytest.raises(Malformed) as raised:
        parse(row)
    assert raised.value.remedy.startswith("set data.fields: {answer: Answer, context: Passages, query: Question}")
    named: Any = {"answer": "Answer", "context": "Passages", "query": "Question", "document": "meta.source"}
    parsed = parse(row, RowFormat(fields=named))
    assert parsed.row[1:5] == ("manual", QUERY, (CONTEXT,), ANSWER) and not parsed.unused


def test_history_is_questions_and_answers_in_turn_and_what_is_not_is_named() -> None:
    history = [
        {"role": "assistant", "content": "Hello!"},
        {"role": "human", "content": "Which pump?"},
        {"role": "user", "content": "In hall 2."},
        {"role": "system", "content": "Be kind."},
        {"role": "gpt", "content": "P-7."},
        {"role": "user", "content": "Hm."},
    ]
    row = {"query": QUERY, "context": ["The limit is 16 bar."], "answer": ANSWER, "history": history}
    parsed = parse(row)
    assert parsed.row.history == (("user", "Which pump?\n\nIn hall 2."), ("assistant", "P-7."))
    assert parsed.unused == {
        "assistant turns before any question",
        "user turns without an answer",
        "system turns in history",
    }


def test_the_turns_before_a_question_are_its_history() -> None:
    parsed = parse(CHAT)
    assert (parsed.row.query, parsed.row.context) == ("And how fast does it run?", (CONTEXT,))
    assert parsed.row.history == (("user", QUERY), ("assistant", ANSWER))
    assert parsed.unused == frozenset()
    alone = parse({"query": parsed.row.query, "context": [CONTEXT], "answer": parsed.row.answer})
    assert alone.key != parsed.key


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_triplet(form: str) -> None:
    row = parse(FORMS[form]).row
    assert (row.query, row.context, row.answer) == (QUERY, (CONTEXT,), ANSWER)
    assert row == parse(FORMS["triplet"]).row  # derived id and document too


def test_the_course_example_row_loads_as_it_is_printed(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(COURSE_ROW)
    [(line, raw)] = read_lines(tmp_path / "train.jsonl")
    on_one_line = json.dumps(json.loads(COURSE_ROW))
    for text in (raw, on_one_line):
        row = parse(json.loads(text)).row
        assert (row.query, row.context, row.answer) == COURSE_TRIPLET


def test_a_context_may_itself_hold_a_question(tmp_path: Path) -> None:
    prompt = f"Context: FAQ.\nQuestion: Why?\nBecause.\nQuestion: {QUERY}"
    row = parse({"prompt": prompt, "completion": ANSWER}).row
    assert (row.query, row.context) == (QUERY, ("FAQ.\nQuestion: Why?\nBecause.",))


def test_optional_fields_are_taken_over_and_others_named() -> None:
    fields = {"id": 7, "document": " pump ", "gold": [0], "value": 1450, "source": "x", "score": 1}
    parsed = parse(FORMS["triplet"] | fields)
    assert parsed.row[:2] == ("7", "pump") and parsed.row.gold == (0,) and parsed.row.value == "1450"
    assert parsed.unused == {"source", "score"}


def test_null_and_blank_optional_fields_count_as_absent() -> None:
    absent = parse(FORMS["triplet"]).row
    assert parse(FORMS["triplet"] | {"id": None, "document": " ", "gold": None, "value": ""}).row == absent


def test_derived_names_come_from_the_content_alone() -> None:
    one, other = "The pump is red.", "The fan is blue."
    row = parse({"query": "What is red?", "context": [one, other], "answer": "The pump."})
    same = parse({"query": "what is  RED?", "context": [one.upper(), other], "answer": "Something else."})
    turned = parse({"query": "What is red?", "context": [other, one], "answer": "The pump."})
    edited = parse({"query": "What is red?", "context": [one, other + " Or not."], "answer": "The pump."})
    assert same.key == row.key and same.row.id == row.row.id and same.row.document == row.row.document
    assert turned.key != row.key and turned.row.document == row.row.document
    assert edited.key != row.key and edited.row.document != row.row.document


TRIPLET = FORMS["triplet"]
BROKEN: dict[str, tuple[object, str]] = {
    "a list": ([1, 2], "a JSON list, not an object"),
    "unknown fields": ({"question": "q", "passage": "p"}, "no form has the fields passage, question"),
    "one field missing": ({"query": "q", "context": "c"}, "lacks answer to be a triplet row"),
    "prompt alone": ({"prompt": "q"}, "lacks completion to be a prompt row"),
    "no field": ({}, "no form has the fields none"),
    "blank query": (TRIPLET | {"query": "  "}, "query: empty"),
    "query of another type": (TRIPLET | {"query": 5}, "query: number 5, not a text"),
    "two answers": (TRIPLET | {"answer": ["a", "b"]}, "answer: list ['a', 'b'], not a text"),
    "a truth value as answer": (TRIPLET | {"answer": True}, "answer: boolean True, not a text"),
    "no number as answer": (TRIPLET | {"answer": float("nan")}, "answer: NaN, not a text"),
    "no passage": (TRIPLET | {"context": []}, "context: an empty list"),
    "blank passage": (TRIPLET | {"context": [CONTEXT, ""]}, "context: passage 1 is empty"),
    "passage of another type": (TRIPLET | {"context": [{"n": 5}]}, "context: object {'n': 5} as passage 0"),
    "a fraction as id": (TRIPLET | {"id": 7.5}, "id: number 7.5"),
    "gold out of range": (TRIPLET | {"gold": [1]}, "gold: [1], but the passages are 0 to 0"),
    "gold of another type": (TRIPLET | {"gold": ["first"]}, "gold: ['first']"),
    "id of another type": (TRIPLET | {"id": 1.5}, "id: number"),
    "value of another type": (TRIPLET | {"value": ["a"]}, "value: list"),
    "text without tags": ({"text": f"{ASKED}\nAnswer: {ANSWER}"}, "text: no [/INST]"),
    "text without question": (
        {"text": f"[INST] Context: {CONTEXT} [/INST] {ANSWER}"},
        "text: no context in user: 'Context: The pump",
    ),
    "prompt without context": ({"prompt": QUERY, "completion": ANSWER}, "prompt: no question about a context"),
    "empty question": ({"prompt": "Context: c\nQuestion: ", "completion": "a"}, "prompt: the question is empty"),
    "no messages": ({"messages": []}, "messages: an empty list"),
    "no answer in messages": ({"messages": [user(ASKED)]}, "messages: the roles are user"),
    "an image": ({"messages": [user([{"type": "image"}]), assistant("a")]}, "messages: a content of image alone"),
    "no context": (
        {"messages": [system("Be brief."), user(QUERY), assistant("a")]},
        "messages: no context in system: ",
    ),
    "an empty last turn": ({"messages": [user(ASKED), assistant("")]}, "messages: the last assistant content is empty"),
    "an empty completion": ({"prompt": ASKED, "completion": None}, "completion: empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_row_of_no_form_is_malformed_and_says_what_it_has(case: str) -> None:
    row, value = BROKEN[case]
    with pytest.raises(Malformed) as raised:
        parse(row)
    assert value in raised.value.value
    assert raised.value.remedy


def test_the_remedy_for_unknown_fields_names_every_form() -> None:
    with pytest.raises(Malformed) as raised:
        parse({"question": "q"})
    for form in ("{answer, context, query}", "{messages}", "{completion, prompt}", "{text}"):
        assert form in raised.value.remedy


NOT_JSON = {  # what is told of a line, and how to mend it
    "a comma behind it": ('{"query": "How deep?"},', 'How deep?"},', "comma"),
    "two on a line": ('{"id": "a"} {"id": "b"}', '{"id": "a"} {"id": "b"}', "a line of its own"),
    "cut off": ('{"query": "How de', "How de", "cut off"),
    "as Python prints it": ("{'query': 'How deep?', 'gold': None}", "{'query': 'How deep?'", "json.dumps"),
    "a comment": ("// 12 rows of the harbour", "// 12 rows of the harbour", "remove the line"),
    "JSON twice": (json.dumps(json.dumps({"query": "How deep?"})), "How deep?", "once, not twice"),
    "a path with backslashes": (r'{"document": "C:\pumps"}', r"C:\pumps", "backslash"),
    "half a character": (r'{"query": "\ud83d"}', r"\ud83d", "whole characters"),
    "Latin-1": ('{"query": "Où?"}'.encode("latin-1"), r"O\xf9?", "UTF-8"),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_a_line_that_is_no_json_is_quoted_with_what_to_do(case: str) -> None:
    line, quoted, remedy = NOT_JSON[case]
    with pytest.raises(Malformed) as raised:
        loads(line if isinstance(line, bytes) else line.encode())
    assert quoted in raised.value.value and remedy in raised.value.remedy


def test_numbers_are_read_as_they_are_written() -> None:
    long = "9" * 30
    row = loads(f'{{"id": {long}, "score": NaN, "query": "q", "context": "c", "answer": 7}}'.encode())
    assert parse(row).row[:5] == (long, parse(row).row.document, "q", ("c",), "7")
    assert parse(TRIPLET | {"id": 7.0}).row.id == "7"
    with pytest.raises(Malformed, match="document: NaN"):
        parse(loads(b'{"document": NaN, "query": "q", "context": "c", "answer": "a"}'))


def test_a_key_that_stands_twice_is_told() -> None:
    for raw, repeated in [
        (b'{"a": 1, "b": {"a": 2}, "a": "\\"b\\""}', ["a"]),
        (b'{"a": {"b": 1}, "b": [{"b": 2}]}', []),
    ]:
        assert repeated_keys(raw, loads(raw)) == repeated
