"""Scores of two systems as evaluations leave them: rows of one document alike, the two systems alike, Nones, bounds.

A row is hard or easy by its document, by itself and by the system that answers it (latent normal variables), so that
answers of both systems go wrong on the same rows. The second system's true gain is added row by row.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tasks.evaluation.gating.compare import compare
from tasks.evaluation.gating.verdicts import decide
from tasks.evaluation.metrics.scores import Scores
from tasks.gate import GateConfig, judge_all

MEAN_F1 = 0.702  # of a million simulated rows; and so gains in it can be made to measure
MEAN_CORRECT = 0.657  # the same
METRICS = ("correct", "faithfulness", "hallucination", "relevance", "token_f1", "abstention_f1", "over_refusal")


CONFIG = GateConfig()


@dataclass(frozen=True)
class World:
    """The evaluation set and the systems. Shares of the latent variance: document, row, and the rest the system's."""

    documents: int = 130
    most_rows: int = 5  # of a document; at least one, on average half
    unanswerable: float = 0.25
    by_document: float = 0.25
    by_row: float = 0.6
    hallucinated: float = 0.08
    refuses_answerable: float = 0.05
    refuses_unanswerable: float = 0.85

    @property
    def hallucination_rate(self) -> float:
        """The true one, of all answers: refusals hallucinate nothing."""
        refused = self.unanswerable * self.refuses_unanswerable + (1 - self.unanswerable) * self.refuses_answerable
        return self.hallucinated * (1 - refused)

    def rows(self, rng: np.random.Generator) -> "Rows":
        sizes = rng.integers(1, self.most_rows + 1, self.documents)
        document = np.repeat(np.arange(self.documents), sizes)
        count = len(document)
        return Rows(
            document,
            rng.random(count) < self.unanswerable,
            # One latent variable each for being right, being grounded, refusing.
            np.sqrt(self.by_document) * rng.normal(size=(3, self.documents))[:, document]
            + np.sqrt(self.by_row) * rng.normal(size=(3, count)),
        )

    def answers(self, rows: "Rows", rng: np.random.Generator, **gains: float) -> Scores:
        """Scores of one system; `gains`: by how much it is truly better in a metric, in that metric's units."""
        count = len(rows.document)
        own = np.sqrt(1 - self.by_document - self.by_row) * rng.normal(size=(3, count))
        right, grounded, cautious = rows.shared + own
        answerable = ~rows.unanswerable
        refused = cautious < np.where(answerable, ndtri(self.refuses_answerable), ndtri(self.refuses_unanswerable))
        if gain := gains.get("refusing"):  # so much more of what cannot be answered
            refused |= rows.unanswerable & (rng.random(count) < gain / (1 - self.refuses_unanswerable))
        answers = ~refused
        faithfulness = np.clip(ndtr(1.2 * grounded + 1.5) + 0.05, 0, 1)
        hallucinated = answers & (grounded < ndtri(self.hallucinated))
        if gain := gains.get("hallucination"):  # so many of those that were hallucinated are not any more
            hallucinated &= rng.random(count) >= gain / self.hallucination_rate
        f1 = np.where(answers, np.where(right > -0.5, 1.0, ndtr(right)), 0.0)
        if gain := gains.get("token_f1"):
            end, room = (1.0, 1 - MEAN_F1) if gain > 0 else (0.0, MEAN_F1)
            f1 = np.where(rng.random(count) < abs(gain) / room, end, f1)
        if gain := gains.get("correct"):
            end, room = (1.0, 1 - MEAN_CORRECT) if gain > 0 else (0.0, MEAN_CORRECT)
            changed = (f1 < 1) if gain > 0 else (f1 == 1)
            f1 = np.where(changed & (rng.random(count) < abs(gain) / room), end, f1)
        columns = {
            "correct": np.where(answerable, (f1 == 1).astype(float), np.nan),
            "faithfulness": np.where(answers, faithfulness, np.nan),
            "hallucination": hallucinated.astype(float),
            "relevance": np.where(answers & answerable, 0.5 + 0.4 * ndtr(right) + gains.get("relevance", 0), np.nan),
            "token_f1": np.where(answerable, f1, np.nan),
            "abstention_f1": np.where(refused | rows.unanswerable, refused & rows.unanswerable, np.nan),
            "abstention_f1_weight": refused.astype(float) + rows.unanswerable,
            "over_refusal": np.where(answerable, refused.astype(float), np.nan),
        }
        ids = [str(number) for number in range(count)]
        return Scores(ids, [str(each) for each in rows.document], ids, columns)


@dataclass(frozen=True)
class Rows:
    document: np.ndarray  # (rows,)
    unanswerable: np.ndarray  # (rows,)
    shared: np.ndarray  # (3, rows): what both systems find hard


WORLDS = {
    "as in the tests": World(documents=120),
    "just enough documents": World(documents=100),
    "a row a document": World(documents=150, most_rows=1),
    "many rows a document": World(documents=110, most_rows=20),
    "documents alike": World(documents=130, by_document=0.8, by_row=0.1),
    "rows of nothing in common": World(documents=130, by_document=0.05),
    "systems of nothing in common": World(documents=130, by_document=0.1, by_row=0.1),
    "half unanswerable": World(documents=130, unanswerable=0.5),
    "next to none unanswerable": World(documents=130, unanswerable=0.03),
    "next to none hallucinated": World(documents=130, hallucinated=0.005),
    "refuses much": World(documents=130, refuses_answerable=0.3),
}

# A uniform number becomes a row's value; with the true mean.
SKEWED = {
    "near 1": (lambda u: u**0.1, 1 / 1.1),
    "near 0": (lambda u: u**9, 0.1),
    "1 but for one in 30": (lambda u: np.minimum(1, u * 30), 1 - 1 / 60),
    "0 but for one in 30": (lambda u: np.maximum(0, 30 * u - 29), 1 / 60),
    "all or nothing, one in 50": (lambda u: (u < 0.02).astype(float), 0.02),
    "beyond 1": (lambda u: -np.log(1 - u) / 2, 0.5),
}


def evaluation(world: World, seed: int, **gains: float):
    """Two systems on the same questions, compared and judged as the step does, with fewer resamples.

    Returns the changes by metric, the verdicts, and the decision.
    """
    rng = np.random.default_rng(seed)
    rows = world.rows(rng)
    first, second = world.answers(rows, rng), world.answers(rows, rng, **gains)
    entries = compare(first, second, ("base", "tuned"), resamples=500, seed=seed, metrics=METRICS)
    verdicts = judge_all(CONFIG, {"base": entries})
    return {entry.name: entry.difference for entry in entries}, verdicts, decide(verdicts, None)


def share(said) -> float:
    return sum(said) / len(said)


def skewed(shape: str, alike: float, documents: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values, and their documents of 1 to 4 rows; so many rows have their document's value, the others their own."""
    take, _ = SKEWED[shape]
    document = np.repeat(np.arange(documents), rng.integers(1, 5, documents))
    rows = len(document)
    return take(np.where(rng.random(rows) < alike, rng.random(documents)[document], rng.random(rows))), document
