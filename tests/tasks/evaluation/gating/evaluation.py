"""Systems that answer the same questions, scored and compared by the gate."""

import json

from tasks.gate import GateConfig, gate
from tasks.score import ScoreConfig, score
from tests.tasks.evaluation.rows import triplets, write_answers, write_rows


class Evaluation:
    """Systems that answer the same questions; each is scored once."""

    def __init__(self, folder, rows):
        """`rows`: triplets, or how many documents of made-up ones."""
        self.folder, self.triplets = folder, triplets(rows) if isinstance(rows, int) else rows
        self.rows = write_rows(folder / "rows", self.triplets)

    def scores(self, say):
        folder = self.folder / say.__name__
        if not folder.exists():
            answers = write_answers(folder / "answers", self.triplets, say)
            score(ScoreConfig(), rows=self.rows, answers=answers, out=folder)
        return folder

    def judged(self, base, tuned, config=None, **others):
        out = self.folder / "gate"
        out.mkdir(exist_ok=True)
        scored = {f"{name}_scores": self.scores(say) for name, say in {"base": base, "tuned": tuned, **others}.items()}
        gate(config or GateConfig(resamples=500), **scored, out=out)
        return json.loads((out / "gate.json").read_text())
