"""Answers by a real model: greedy, in batches that change nothing, in the order of the rows."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from tasks import prompts as package
from tasks.answer import AnswerConfig, answer, generate
from tasks.errors import UserError
from tasks.model import ModelConfig, load_base, load_tokenizer
from tasks.prompts import Prompt
from tasks.triplets import Triplet, TripletWriter
from tests.tasks.tiny import toy_base

TEMPLATE = Path(package.__file__).parent / "templates" / "inst.jinja"
PLAIN = ModelConfig(quantization="none", device="cpu")
ROWS = [Triplet(f"row-{i}", "P-1", "How much?", (f"It takes {i} litres. " * (1 + i % 5),), "None.") for i in range(12)]
QUESTIONS = [(row.context, row.query) for row in ROWS]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The toy base with heavier layers: as it comes, it repeats the last token whatever the question."""
    folder = toy_base(tmp_path_factory.mktemp("base"))
    model = load_base(folder, PLAIN)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("proj.weight"):
                weight.mul_(12)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    with TripletWriter(folder / "rows.arrow") as writer:
        for row in ROWS:
            writer.add(row)
    return folder


def prompt_of(base: Path) -> Prompt:
    return Prompt.load(TEMPLATE, load_tokenizer(base))


def answered(folder: Path, rows: Path, base: Path, **inputs) -> bytes:
    folder.mkdir()
    config = AnswerConfig(max_new_tokens=6, batch_tokens=400, model=PLAIN)
    answer(config, rows=rows, base=base, template=TEMPLATE, out=folder, **inputs)
    return (folder / "answers.arrow").read_bytes()


def adapter(folder: Path, base: Path) -> Path:
    import peft

    torch.manual_seed(1)
    shape = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(load_base(base, PLAIN), shape).save_pretrained(folder)
    return folder


def test_answers_come_in_the_order_of_the_rows_with_their_tokens(tmp_path, rows, base):
    answered(tmp_path / "a", rows, base)
    table = pa.ipc.open_stream(str(tmp_path / "a/answers.arrow")).read_all()
    assert table.schema.names == ["id", "answer", "tokens", "truncated"]
    assert table.schema.field("tokens").type == pa.int32()
    assert table.column("id").to_pylist() == [row.id for row in ROWS]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["answers.arrow"]


def test_the_same_questions_give_the_same_bytes_and_an_adapter_gives_others(tmp_path, rows, base):
    first = answered(tmp_path / "a", rows, base)
    assert answered(tmp_path / "b", rows, base) == first
    assert answered(tmp_path / "c", rows, base, adapter=adapter(tmp_path / "adapter", base)) != first


def test_a_batch_answers_as_transformers_does_one_prompt_at_a_time(base):
    model, prompt, tokenizer = load_base(base, PLAIN), prompt_of(base), load_tokenizer(base)
    batched = generate(model, prompt, QUESTIONS, max_new_tokens=8, batch_tokens=700)
    assert len({each.text for each in batched}) > 1
    for (passages, query), given in zip(QUESTIONS, batched, strict=True):
        ids = torch.tensor([prompt.encode(passages, query)[0]])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        assert given.text == tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True).strip()


def test_a_models_own_sampling_settings_are_not_used(base, tmp_path):
    own = Path(shutil.copytree(base, tmp_path / "own"))
    sampling = {"do_sample": True, "temperature": 5.0, "top_k": 100, "repetition_penalty": 9.0, "max_length": 3}
    (own / "generation_config.json").write_text(json.dumps(sampling))
    expected = generate(load_base(base, PLAIN), prompt_of(base), QUESTIONS, max_new_tokens=8)
    assert generate(load_base(own, PLAIN), prompt_of(own), QUESTIONS, max_new_tokens=8) == expected


def test_an_answer_ends_at_the_templates_end_or_is_called_truncated(base, tmp_path):
    model = load_base(base, PLAIN)
    (cut,) = generate(model, prompt_of(base), QUESTIONS[:1], max_new_tokens=3)
    assert cut.truncated and cut.tokens == 3
    with torch.no_grad():
        model.model.norm.weight.zero_()  # every token is as likely as another, and the first is <pad>
    own = tmp_path / "own.jinja"
    own.write_text(TEMPLATE.read_text().replace("</s>", "<pad>"))
    prompt = Prompt.load(own, load_tokenizer(base))
    (ended,) = generate(model, prompt, QUESTIONS[:1], max_new_tokens=3)
    assert ended == ("", 0, False)


def test_a_prompt_beyond_the_models_window_is_refused(base):
    model = load_base(base, PLAIN)
    model.config.max_position_embeddings = 50
    with pytest.raises(UserError, match="the model's window is 50"):
        generate(model, prompt_of(base), QUESTIONS, max_new_tokens=8)


def test_an_evaluation_set_of_no_rows_is_refused(tmp_path, base):
    (tmp_path / "rows").mkdir()
    with TripletWriter(tmp_path / "rows/rows.arrow"):
        pass
    with pytest.raises(UserError, match="no row to answer"):
        answered(tmp_path / "a", tmp_path / "rows", base)
