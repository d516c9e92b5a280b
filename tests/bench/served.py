"""Whether what serves answers as what was evaluated: our answers, plain PEFT, merged, and vLLM by each of its ways.

Takes a store with a retrained sample and its base, by `STORE` (artifacts) and `BASE`, and a vLLM (`REGROUND_VLLM`). All
answers are greedy and in float32, on whole weights: from the step `answer` (a), from transformers and PEFT alone in a
process of their own (b), from the merged model (c), and from vLLM's completions and chat, by the bundle's own settings,
beside the base and merged (d). Where two differ, the least lead of the likeliest token over the next one in that answer
tells whether they may have tied.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from flows.promotion.candidates import find, gate_of
from flows.serving import engines
from flows.settings import vllm
from tasks.answer import Answer, AnswerConfig, _answer, answer
from tasks.data.triplets import read_triplets, refusal_of
from tasks.engine.storage.store import Store
from tasks.evaluation.answers import answered
from tasks.evaluation.gating.compare import compare
from tasks.evaluation.gating.rules import parity_rules
from tasks.evaluation.gating.verdicts import judge
from tasks.evaluation.metrics.scores import Scores
from tasks.models.merge import merge
from tasks.models.model import ModelConfig, load_tokenizer
from tasks.prompts import Prompt, PromptConfig, Vocabulary
from tasks.score import ScoreConfig, score
from tests.bench.harness import verdict
from tests.production.service import free_port
from tests.waiting import wait_until

TIE = 1e-4  # between the logits of two tokens that are all but equally likely
MARGIN = 0.05  # gate.parity_margin
WHOLE = ModelConfig(quantization="none", compute_dtype="float32")
PLAIN = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
base, folder, asked, out = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = model if base == folder else PeftModel.from_pretrained(model, folder)
model.generation_config = GenerationConfig.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
given, margins = [], []
for messages in json.load(open(asked)):
    told = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**told, output_logits=True, return_dict_in_generate=True)
    given.append(made.sequences[0, told["input_ids"].shape[1] :].tolist())
    best = [step[0].topk(2).values for step in made.logits]
    margins.append(min(float(first - second) for first, second in best))
json.dump([given, margins], open(out, "w"))
"""


class Subject:
    """An adapter of a store, its base, and the questions that its gate asked."""

    def __init__(self, store: Store, name: str, base: Path | None = None, most: int | None = None) -> None:
        artifact = find(store, name)
        gate = gate_of(store, artifact)
        scores = gate.input_artifact("tuned_scores") if gate else None
        rows = scores.input_artifact("rows") if scores else None
        assert rows, f"{artifact.about} was judged by no gate"
        self.rows = rows.local()
        self.served = engines.Served.of(artifact, base)
        self.bundle, self.base = self.served.bundle, self.served.base.local()
        self.config = PromptConfig.model_validate(artifact.record.config["prompt"])
        self.most: int = artifact.record.config["max_new_tokens"]
        own = self.bundle / "prompt.jinja"
        self.template = own if own.is_file() else None
        vocabulary = Vocabulary.of(load_tokenizer(self.base), self.base)
        self.prompt = Prompt.load(self.config, vocabulary, refusal_of(self.rows), self.template)
        self.asked = [row.asked for row in read_triplets(self.rows)][:most]

    def by_us(self, place: Path, base: Path, adapter: Path | None) -> tuple[list[Answer], Scores]:
        """By the steps `answer` and `score`."""
        for each in ("work", "out", "scores"):
            (place / each).mkdir(parents=True)
        config = AnswerConfig(max_new_tokens=self.most, model=WHOLE, prompt=self.config)
        inputs = {"rows": self.rows, "base": base, "template": self.template, "adapter": adapter}
        answer(config, **inputs, work=place / "work", out=place / "out")
        score(ScoreConfig(), rows=self.rows, answers=place / "out", out=place / "scores")
        given = [Answer(*each[1:]) for _, each in answered(self.rows, place / "out/answers.arrow")]
        return given[: len(self.asked)], Scores.read(place / "scores/scores.arrow")

    def by_itself(self, place: Path, base: Path, folder: Path) -> tuple[list[Answer], list[float]]:
        """By transformers and PEFT, as the card says; and the least lead of the likeliest token over the next."""
        (place / "asked.json").write_text(json.dumps([self.prompt.turns.messages(each) for each in self.asked]))
        words = [sys.executable, "-c", PLAIN, base, folder, place / "asked.json", place / "given.json"]
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run(list(map(str, words)), check=True, cwd=place, env=alone)
        given, margins = json.loads((place / "given.json").read_text())
        return list(map(self.answer, given)), margins

    def by_vllm(self, place: Path, command: Sequence[str], model: str) -> dict[str, list[Answer]]:
        """By vLLM's completions of token ids and of text, and by its chat."""
        ids = [each.tolist() for each in self.prompt.encode_prompts(self.asked)]
        texts = map(self.prompt.render, self.asked)
        turns = map(self.prompt.turns.messages, self.asked)
        most = {"max_tokens": self.most}
        ways: dict[str, tuple[str, list[dict[str, Any]]]] = {
            "completions, token ids": ("completions", [{"prompt": each, **most} for each in ids]),
            "completions, text": ("completions", [{"prompt": t, **most, "add_special_tokens": False} for t in texts]),
            "chat": ("chat/completions", [{"messages": each} for each in turns]),
        }
        with serving(place, command) as client, ThreadPoolExecutor(8) as pool:
            return {
                way: list(map(self.answer, pool.map(partial(tokens, client, path, model), requests)))
                for way, (path, requests) in ways.items()
            }

    def answer(self, tokens: list[int]) -> Answer:
        return _answer(tokens, len(tokens), self.prompt, self.most)


@contextmanager
def serving(place: Path, command: Sequence[str]) -> Iterator[httpx.Client]:
    """A server that runs meanwhile; its log is `place`/log."""
    port = str(free_port())
    with (place / "log").open("ab") as log:
        process = subprocess.Popen([*command, "--port", port], stdout=log, stderr=log)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)

    def up() -> bool:
        with suppress(httpx.HTTPError):
            return client.get("/health").is_success
        return False

    try:
        wait_until(up, process, seconds=1800, every=1)
        yield client
    finally:
        process.terminate()
        process.wait()


def tokens(client: httpx.Client, path: str, model: str, asked: dict[str, Any]) -> list[int]:
    told = client.post(f"/v1/{path}", json={"model": model, "return_token_ids": True, **asked}).raise_for_status()
    given: list[int] = told.json()["choices"][0]["token_ids"]
    return given


def compared(subject: Subject, place: Path) -> tuple[dict[str, tuple[int, int]], str]:
    """How many answers differ from those of `answer`, of these how many in a tie; and parity's verdict on merged."""
    program = vllm()
    assert program, "name a vLLM: REGROUND_VLLM=ITS/ENVIRONMENT/bin/vllm"
    merged, settings = place / "model", ("--dtype", "float32", "--host", "127.0.0.1")
    merge(subject.bundle, subject.base, merged, WHOLE)
    for each in ("a", "b", "c", "c itself", "d", "d merged"):
        (place / each).mkdir()
    a, trained = subject.by_us(place / "a", subject.base, subject.bundle)
    b, margins = subject.by_itself(place / "b", subject.base, subject.bundle)
    c, shipped = subject.by_us(place / "c", merged, None)
    itself, merged_margins = subject.by_itself(place / "c itself", merged, merged)
    beside = (program, "serve", str(subject.base), *engines.vllm_options(subject.served), *settings)
    found = {"b: PEFT alone": (a, b, margins), "c: transformers alone, merged": (c, itself, merged_margins)}
    for way, given in subject.by_vllm(place / "d", beside, subject.served.name).items():
        found[f"d: vLLM, adapter, {way}"] = (a, given, margins)
    for way, given in subject.by_vllm(
        place / "d merged", (program, "serve", str(merged), *settings), str(merged)
    ).items():
        found[f"d: vLLM, merged, {way}"] = (c, given, merged_margins)
    found["c: merged, against a"] = (a, c, margins)
    differ = {}
    for name, (one, other, least) in found.items():
        ties = [margin <= TIE for x, y, margin in zip(one, other, least, strict=True) if x != y]
        differ[name] = (len(ties), sum(ties))
    verdicts = judge(
        parity_rules(MARGIN),
        compare(trained, shipped, ("trained", "shipped"), resamples=10_000, seed=0),
        "trained",
        "all",
    )
    return differ, "; ".join(f"{each.label}: {each.outcome}, {each.value}" for each in verdicts)


def main() -> None:
    base = os.environ.get("BASE")
    subject = Subject(Store(os.environ.get("STORE", "artifacts"), project="tiny"), "champion", base and Path(base))
    with TemporaryDirectory() as place:
        differ, parity = compared(subject, Path(place))
    shown = Table(title=f"{len(subject.asked)} answers of {subject.served.name}", title_justify="left", box=None)
    for column in ("", "differ", "in a tie"):
        shown.add_column(column, justify="left" if not column else "right")
    for name, figures in differ.items():
        shown.add_row(name, *map(str, figures))
    Console(width=100).print(shown, f"parity of merged: {parity}", sep="\n")
    untied = sum(many - ties for name, (many, ties) in differ.items() if name != "c: merged, against a")
    verdict("served", ratio=untied, target=0)


if __name__ == "__main__":
    main()
