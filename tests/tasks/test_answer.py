"""Answers by a real model: greedy, in batches that change nothing, in the order of the rows, each given once."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from transformers import GenerationMixin

from tasks.answer import AnswerConfig, answer, answer_tokens, generate
from tasks.data.triplets import Triplet, TripletWriter
from tasks.engine.errors import UserError
from tasks.evaluation.answers import read_general_loss
from tasks.models.general import TEXT
from tasks.models.model import ModelConfig, attach_adapter, load_base, load_tokenizer, merge_adapter
from tasks.prompts import Prompt
from tests.tasks.tiny import CHAT, COURSE, toy_base

PLAIN = ModelConfig(quantization="none", device="cpu")
ROWS = [Triplet(f"row-{i}", "P-1", "How much?", (f"It takes {i} litres. " * (1 + i % 5),), "None.") for i in range(12)]
QUESTIONS = [row.asked for row in ROWS]


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
    return written(tmp_path_factory.mktemp("rows"), ROWS)


def written(folder: Path, rows: list[Triplet]) -> Path:
    folder.mkdir(exist_ok=True)
    with TripletWriter(folder / "rows.arrow") as writer:
        for row in rows:
            writer.add(row)
    return folder


def prompt_of(base: Path) -> Prompt:
    return Prompt.load(COURSE, load_tokenizer(base))


def run(folder: Path, rows: Path, base: Path, merge: bool = False, prompt=COURSE, **inputs) -> dict[str, float]:
    """Answer the rows into the folder `folder`/out; `folder`/work outlives a crash."""
    for place in ("out", "work"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    inputs = {
        **inputs,
        "rows": rows,
        "base": base,
        "work": folder / "work",
        "out": folder / "out",
    }
    return answer(AnswerConfig(max_new_tokens=6, batch_tokens=400, merge=merge, model=PLAIN, prompt=prompt), **inputs)


def answered(folder: Path, rows: Path, base: Path, **inputs) -> bytes:
    run(folder, rows, base, **inputs)
    return (folder / "out/answers.arrow").read_bytes()


def table(folder: Path) -> pa.Table:
    return pa.ipc.open_stream(str(folder / "out/answers.arrow")).read_all()


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The rows of each batch that a model is asked; what they begin with goes before, for a token."""
    batches: list[int] = []
    whole = GenerationMixin.generate

    def generate(self, *args, input_ids, **options):
        if options.get("max_new_tokens") != 1:
            batches.append(len(input_ids))
        return whole(self, *args, input_ids=input_ids, **options)

    monkeypatch.setattr(GenerationMixin, "generate", generate)
    return batches


def adapter(folder: Path, base: Path) -> Path:
    import peft

    torch.manual_seed(1)
    shape = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(load_base(base, PLAIN), shape).save_pretrained(folder)
    return folder


def test_answers_come_in_the_order_of_the_rows_with_their_tokens(tmp_path, rows, base):
    answered(tmp_path / "a", rows, base)
    found = table(tmp_path / "a")
    assert found.schema.names == ["id", "prompt", "answer", "tokens", "truncated"]
    assert found.schema.field("tokens").type == pa.int32()
    assert found.column("id").to_pylist() == [row.id for row in ROWS]
    assert {p.name for p in (tmp_path / "a/out").iterdir()} == {"answers.arrow", "general.json"}


def test_the_same_questions_give_the_same_bytes_and_an_adapter_gives_others(tmp_path, rows, base):
    first = answered(tmp_path / "a", rows, base)
    assert answered(tmp_path / "b", rows, base) == first
    assert answered(tmp_path / "c", rows, base, adapter=adapter(tmp_path / "adapter", base)) != first


def test_the_loss_on_a_general_text_is_the_models_own_and_is_measured_once(tmp_path, rows, base, asked):
    losses = {}
    tuned = adapter(tmp_path / "adapter", base)
    for name, more in (("a", {}), ("again", {"earlier": [tmp_path / "a/out"]}), ("tuned", {"adapter": tuned})):
        run(tmp_path / name, rows, base, **more)
        losses[name] = read_general_loss(tmp_path / name / "out")
    model = load_base(base, PLAIN)
    ids = torch.tensor(
        [
            load_tokenizer(base)((Path(__file__).parents[2] / TEXT).read_text(), add_special_tokens=False)["input_ids"][
                :512
            ]
        ]
    )
    with torch.no_grad():
        first = float(model(input_ids=ids, labels=ids).loss)
    assert losses["a"] == losses["again"] != losses["tuned"]
    assert abs(losses["a"] - first) < 1, "the mean over all windows is near that of the first"


def test_an_adapter_merged_into_whole_weights_answers_as_it_does_beside_them(tmp_path, rows, base):
    own = adapter(tmp_path / "adapter", base)
    beside = answered(tmp_path / "a", rows, base, adapter=own)
    assert answered(tmp_path / "b", rows, base, merge=True, adapter=own) == beside
    merged = merge_adapter(attach_adapter(load_base(base, PLAIN), own))
    assert not any("lora" in name for name, _ in merged.named_parameters())  # as large and as fast as the base


def test_merging_into_4_bit_weights_is_refused():
    with pytest.raises(ValidationError, match="set model.quantization: none"):
        AnswerConfig(merge=True)


def test_a_batch_answers_as_transformers_does_one_prompt_at_a_time(base):
    model, prompt, tokenizer = load_base(base, PLAIN), prompt_of(base), load_tokenizer(base)
    batched = generate(model, prompt, QUESTIONS, max_new_tokens=8, batch_tokens=700)
    assert len({each.text for each in batched}) > 1
    for asked, given in zip(QUESTIONS, batched, strict=True):
        ids = torch.tensor([prompt.encode(asked)[0]])
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
    own.write_text(CHAT.replace("</s>", "<pad>"))
    prompt = Prompt.load(COURSE, load_tokenizer(base), template=own)
    (ended,) = generate(model, prompt, QUESTIONS[:1], max_new_tokens=3)
    assert ended == ("", 0, False)


def test_tokens_are_counted_behind_the_thought_row_by_row():
    """Marks of two tokens each: 7 8 opens, 9 8 closes."""
    prompt = SimpleNamespace(may_think=True, begins_thought=False, thought_ids=([7, 8], [9, 8]))
    rows = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 1, 9, 8, 2], [7, 8, 1, 2, 3, 4], [1, 9, 8, 1, 1, 1]])
    assert answer_tokens(prompt, rows).tolist() == [6, 1, -1, 3]
    prompt.begins_thought = True
    assert answer_tokens(prompt, rows).tolist() == [-1, 1, -1, 3]
    prompt.may_think = False
    assert answer_tokens(prompt, rows).tolist() == [6] * 4


def test_a_prompt_beyond_the_models_window_is_refused(base):
    model = load_base(base, PLAIN)
    model.config.max_position_embeddings = 50
    with pytest.raises(UserError, match="the model's window is 50"):
        generate(model, prompt_of(base), QUESTIONS, max_new_tokens=8)


def test_an_evaluation_set_of_no_rows_is_refused(tmp_path, base):
    with pytest.raises(UserError, match="no row to answer"):
        answered(tmp_path / "a", written(tmp_path / "rows", []), base)


ADDED = [Triplet(f"new-{i}", "P-2", "How much?", (f"It takes {i} barrels.",), "None.") for i in range(3)]
EDITED = ROWS[5]._replace(query="How many litres?")
REFUSING = [ROWS[0]._replace(refusal=True, answer="It is not said."), *ROWS[1:]]
CHANGES = {
    "nothing": (ROWS, 0),
    "rows appended": (ROWS + ADDED, 3),
    "a row in front": (ADDED[:1] + ROWS, 1),
    "rows deleted": (ROWS[1:5] + ROWS[7:], 0),
    "a query edited": (ROWS[:5] + [EDITED] + ROWS[6:], 1),
    "a passage edited": ([ROWS[0]._replace(context=("It takes none.",)), *ROWS[1:]], 1),
    "reordered": (ROWS[::-1], 0),
    "ids and right answers edited": ([row._replace(id=row.id + "!", answer="Much.") for row in ROWS], 0),
    "a prompt twice": ([*ROWS, ROWS[3]._replace(id="twin")], 0),
    "another refusal, which the template does not tell": (REFUSING, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_new_prompts_are_generated(tmp_path, rows, base, asked, change):
    run(tmp_path / "before", rows, base)
    first = dict(zip([row.id for row in ROWS], table(tmp_path / "before").drop(["id"]).to_pylist(), strict=True))
    changed, new = CHANGES[change]
    asked.clear()
    told = run(tmp_path / "after", written(tmp_path / "rows", changed), base, earlier=[tmp_path / "before/out"])
    assert sum(asked) == new
    assert told == {"rows_taken_over": len(changed) - new, "rows_generated": new}
    found = table(tmp_path / "after")
    assert found.column("id").to_pylist() == [row.id for row in changed]
    same = [row for row in changed if row in ROWS]
    kept = dict(zip(found.column("id").to_pylist(), found.drop(["id"]).to_pylist(), strict=True))
    assert {row.id: kept[row.id] for row in same} == {row.id: first[row.id] for row in same}


def test_another_refusal_is_another_prompt_where_the_template_tells_it(tmp_path, rows, base, asked):
    telling = COURSE.model_copy(update={"system": "If the context does not say: {{ refusal }}"})
    run(tmp_path / "before", rows, base, prompt=telling)
    asked.clear()
    run(
        tmp_path / "after",
        written(tmp_path / "rows", REFUSING),
        base,
        prompt=telling,
        earlier=[tmp_path / "before/out"],
    )
    assert sum(asked) == len(ROWS)


def test_an_answer_of_the_newest_artifact_counts(tmp_path, rows, base, asked):
    run(tmp_path / "base", rows, base)
    run(tmp_path / "tuned", rows, base, adapter=adapter(tmp_path / "adapter", base))
    asked.clear()
    again = answered(tmp_path / "again", rows, base, earlier=[tmp_path / "tuned/out", tmp_path / "base/out"])
    assert asked == []
    assert again == (tmp_path / "tuned/out/answers.arrow").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from transformers import GenerationMixin
from tests.tasks.test_answer import run

whole, calls = GenerationMixin.generate, []

def generate(*args, **options):
    calls.append(1)  # two a batch: what prompts begin with, and the answers
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)

GenerationMixin.generate = generate
run(*map(Path, sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "torn", [pytest.param(b"", marks=[pytest.mark.slow, pytest.mark.nightly]), b'0123456789abcdef[["torn']
)
def test_a_killed_run_keeps_its_batches_and_ends_with_the_same_bytes(tmp_path, rows, base, asked, torn):
    undisturbed = answered(tmp_path / "undisturbed", rows, base)
    batches = list(asked)
    assert len(batches) > 3
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(rows), str(base)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    with (tmp_path / "killed" / "work" / "answers.jsonl").open("ab") as journal:
        journal.write(torn)
    asked.clear()
    assert answered(tmp_path / "killed", rows, base) == undisturbed
    assert asked == batches[2:]
