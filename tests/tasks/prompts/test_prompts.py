"""The prompt templates against their families' own chat templates, and against text that would be structure."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import prompts as package
from tasks.engine.errors import UserError
from tasks.models.model import load_tokenizer
from tasks.prompts import Prompt
from tests.tasks.prompts.families import ANSWER, FAMILIES, PASSAGES, QUERY, REFUSAL, family_tokenizer

TEMPLATES = Path(package.__file__).parent / "templates"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    made = {}
    for name, (specials, eos, bos) in FAMILIES.items():
        folder = tmp_path_factory.mktemp(name)
        family_tokenizer(folder, specials, eos=eos, bos=bos)
        made[name] = Prompt.load(TEMPLATES / f"{name}.jinja", load_tokenizer(folder), REFUSAL), load_tokenizer(folder)
    return made


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.jinja"
    path.write_text(text)
    return path


def test_every_template_is_tested():
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} == set(FAMILIES)


def test_inst_is_the_form_of_the_course_byte_for_byte(prompts):
    prompt, _ = prompts["inst"]
    assert (
        prompt.render(["One.", "Two. "], "What?") == "<s>[INST] Context: One.\nTwo. \nQuestion: What? [/INST]\nAnswer:"
    )
    assert prompt.render(["One."], "What?", "One").endswith(" [/INST]\nAnswer: One</s>")


@pytest.mark.parametrize(
    ("family", "reference"),
    [("gemma", "gemma"), ("llama3", "llama3_1"), ("llama3", "llama3_2"), ("qwen", "qwen2_5")],
)
def test_a_prompt_is_what_the_familys_own_chat_template_renders(prompts, family, reference):
    import trl

    prompt, tokenizer = prompts[family]
    path = Path(trl.__file__).parent / "chat_templates" / f"{reference}.jinja"
    user = user_turn(prompt)
    for answer in (None, ANSWER):
        turns = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}][: 2 if answer else 1]
        expected = tokenizer.apply_chat_template(
            turns,
            chat_template=path.read_text(),
            tokenize=False,
            add_generation_prompt=answer is None,
            date_string="26 Jul 2024",  # Llama 3.2's template takes today's
        )
        assert prompt.render(PASSAGES, QUERY, answer) == expected


@pytest.mark.parametrize(("family", "version"), [("mistral", "v3"), ("mistral-v1", "v1")])
def test_a_mistral_prompt_is_what_mistral_common_encodes(prompts, family, version):
    pytest.importorskip("sentencepiece")
    instruct = pytest.importorskip("mistral_common.protocol.instruct.request")
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    prompt, _ = prompts[family]
    turns = [UserMessage(content=user_turn(prompt)), AssistantMessage(content=ANSWER)]
    tokenizer = getattr(MistralTokenizer, version)().instruct_tokenizer
    text = tokenizer.encode_instruct(instruct.InstructRequest(messages=turns)).text
    assert prompt.render(PASSAGES, QUERY, ANSWER) == text.replace("▁", " ").replace("<0x0A>", "\n")


def test_the_tiny_bases_own_chat_template_renders_the_same():
    base = Path("data/tiny-base")
    if not base.is_dir():
        pytest.skip("no tiny base in this checkout")
    tokenizer = load_tokenizer(base)
    prompt = Prompt.load(TEMPLATES / "inst.jinja", tokenizer)
    user = f"Context: {PASSAGES[0]}\n{PASSAGES[1]}\nQuestion: {QUERY}"
    for answer in (None, ANSWER):
        turns = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}][: 2 if answer else 1]
        expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)
        assert prompt.render(PASSAGES, QUERY, answer) == expected


def test_llama_2_is_its_documented_format(prompts):
    prompt, _ = prompts["llama2"]
    user = user_turn(prompt)
    assert prompt.render(PASSAGES, QUERY) == f"<s>[INST] {user} [/INST]"
    assert prompt.render(PASSAGES, QUERY, ANSWER) == f"<s>[INST] {user} [/INST] {ANSWER} </s>"


def user_turn(prompt: Prompt) -> str:
    text = prompt.render(PASSAGES, QUERY)
    assert REFUSAL in text
    return text[text.index("Answer the question") : text.rindex(QUERY) + len(QUERY)]


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_and_completion_together_are_the_tokens_of_the_whole_text(prompts, family):
    prompt, tokenizer = prompts[family]
    before, after = prompt.encode(PASSAGES, QUERY, ANSWER)
    whole = tokenizer(prompt.render(PASSAGES, QUERY, ANSWER), add_special_tokens=False)["input_ids"]
    assert before + after == whole
    assert tokenizer.decode(before, skip_special_tokens=False) == prompt.render(PASSAGES, QUERY)
    assert set(prompt.stop_ids) & set(after[-2:])


@pytest.mark.parametrize("family", ["inst", "llama2"])
def test_a_tokenizer_that_puts_a_space_before_the_first_word_puts_none_before_the_answer(tmp_path, family):
    specials, eos, bos = FAMILIES[family]
    family_tokenizer(tmp_path, specials, eos=eos, bos=bos)
    path = tmp_path / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["normalizer"] = {"type": "Prepend", "prepend": " "}  # as Llama 2's
    path.write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path)
    before, after = Prompt.load(TEMPLATES / f"{family}.jinja", tokenizer).encode(PASSAGES, QUERY, ANSWER)
    assert tokenizer.decode(after, skip_special_tokens=True).strip(" ") == ANSWER
    assert not tokenizer.decode(after).startswith("  ")


ALL_SPECIALS = sorted({special for specials, _, _ in FAMILIES.values() for special in specials} | {"<<SYS>>"})
hostile = st.lists(st.sampled_from([*ALL_SPECIALS, "<", "s>", "[", "/INST]", " ", "\n", "<<s>s>", "bar", "<|", "|>"]))


@settings(max_examples=60)
@given(st.sampled_from(sorted(FAMILIES)), st.lists(hostile.map("".join), min_size=1, max_size=3), hostile, hostile)
def test_no_text_becomes_a_control_token(prompts, family, passages, query, answer):
    prompt, tokenizer = prompts[family]
    query, answer = "".join(query), "".join(answer) or "a"
    specials = set(tokenizer.all_special_ids)
    before, after = prompt.encode(passages, query, answer)
    tame_before, tame_after = prompt.encode(["a"] * len(passages), "a", "a")
    assert [i for i in before if i in specials] == [i for i in tame_before if i in specials]
    assert [i for i in after if i in specials] == [i for i in tame_after if i in specials]
    text, tame = prompt.render(passages, query, answer), prompt.render(["a"] * len(passages), "a", "a")
    for marker in ("[INST]", "[/INST]", "<s>", "</s>", "<|im_start|>"):
        if marker in tame:
            assert text.count(marker) == tame.count(marker)
    assert text.startswith(prompt.render(passages, query))


@given(st.text())
def test_text_without_control_strings_is_rendered_as_it_is(prompts, text):
    prompt, _ = prompts["inst"]
    plain = text.replace("<", "").replace("[", "")
    assert prompt.defuse(plain) == plain


def test_a_control_token_put_together_from_two_passages_is_refused(tmp_path, prompts):
    _, tokenizer = prompts["inst"]
    glue = "{{ passages | join }}{{ query }}{% if answer is defined %}{{ answer }}</s>{% endif %}"
    prompt = Prompt.load(write(tmp_path, glue), tokenizer)
    with pytest.raises(UserError, match="control token"):
        prompt.encode(["broken <", "/s> in two"], QUERY, ANSWER)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<s>{{ passages }} {{ query", "own.jinja:1"),
        ("<s>{{ context }}{{ query }}", "'context' is undefined"),
        ("<s>{{ passages[0] }} {{ query }}{% if answer is defined %}{{ answer }}</s>{% endif %}", "leaves out"),
        ("<s>{{ passages | join }}{% if answer is defined %}{{ answer }}</s>{% endif %}", "leaves out"),
        ("{% if answer is defined %}A{% endif %}{{ passages }}{{ query }}", "not the beginning"),
        (
            "{{ passages | join }}{{ query }}{% if answer is defined %}{{ query }}{{ answer }}</s>{% endif %}",
            "surrounds",
        ),
        (
            "{{ passages | join }}{{ query }}{% if answer is defined %}{{ answer }}<end>{% endif %}",
            "never learn to stop",
        ),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_the_reason(tmp_path, prompts, text, complaint):
    _, tokenizer = prompts["inst"]
    with pytest.raises(UserError, match=complaint):
        Prompt.load(write(tmp_path, text), tokenizer)


def test_the_template_of_another_family_is_refused(prompts):
    _, qwen = prompts["qwen"]
    with pytest.raises(UserError, match="never learn to stop"):
        Prompt.load(TEMPLATES / "inst.jinja", qwen)
