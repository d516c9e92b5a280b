"""TRL's own preparation of a dataset, tokenising and packing: ``python -m tests.bench._trl_prepare ROWS``.

Of the same rows, rendered by the same template before the clock starts; the trainer is made before, too, with one row.
Prints {"seconds", "sequences"} as JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench._encode_batch import rendered


def main(rows: Path) -> None:
    import datasets
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from tasks.models.model import load_tokenizer
    from tests.bench._data_steps import BASE, BUILD

    texts = [{"prompt": prompt, "completion": completion} for prompt, completion in rendered(rows)]
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = folder
        dataset = datasets.Dataset.from_list(texts)
        args = SFTConfig(output_dir=folder, packing=True, max_length=BUILD.max_tokens, use_cpu=True, report_to="none")
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(BASE.path, dtype=torch.float32),
            args=args,
            train_dataset=dataset.select(range(1)),
            processing_class=load_tokenizer(BASE.path),
        )
        start = time.monotonic()
        packed = trainer._prepare_dataset(dataset, trainer.processing_class, args, True, None, "train")
        seconds = time.monotonic() - start
    print(json.dumps({"seconds": seconds, "sequences": len(packed)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
