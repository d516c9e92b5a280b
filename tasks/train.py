"""train: fine-tune a LoRA adapter of the base model on the built dataset, in a child process."""

from pathlib import Path

import orjson

from tasks.engine import step
from tasks.models.vllm import stop as end_vllm
from tasks.training import loop
from tasks.training.config import TrainConfig
from tasks.training.job import Job
from tasks.training.launch import run_child


@step(libraries=("accelerate", "bitsandbytes", "datasets", "peft", "torch", "transformers", "trl"), parts=("adapter",))
def train(
    config: TrainConfig,
    *,
    train: Path,
    heldout: Path | None,
    base: Path,
    start: Path | None = None,
    work: Path,
    out: Path,
) -> dict[str, float]:
    """Fine-tune `base` on the packed dataset `train`; measure the loss on `heldout`.

    With `start`, the champion's adapter, training continues from it, on the rows that are new to it and on a share
    `config.replay` of the others.

    Writes out/adapter/ (PEFT, safetensors), out/metrics.jsonl (loss by step), out/report.json (held-out loss before
    and after, steps, examples) and out/report.md. Returns what depends on the machine and the hour, of the process that
    ended the training: seconds, tokens per second of its optimizer steps (of all processes; `computed` ones with
    padding), the share of the device's matrix rate (`mfu`), peak memory in MiB, measured and predicted, watts where
    they can be read, and on a GPU for how many seconds it was held.

    A killed training resumes from its last complete checkpoint in `work`, and ends with the same bytes (on a CPU); one
    whose GPU was lost is resumed once without being asked.

    Raises UserError for what a user can fix: a misspelt target module, out of memory, a loss that is not finite, a GPU
    that stays lost.
    """
    end_vllm()
    job = Job(config=config, train=train, heldout=heldout, base=base, start=start, work=work, out=out)
    run_child(job, module=loop.__name__)
    measured: dict[str, float] = orjson.loads((work / "measured.json").read_bytes())
    return measured
