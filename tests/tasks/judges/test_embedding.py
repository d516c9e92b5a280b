"""Sentence embeddings by a real MiniLM."""

import json
import shutil

import numpy as np
import pytest

from tasks.engine.errors import UserError
from tasks.judges.cases import CHUNK, Case
from tasks.judges.embedding import Embedder, EmbeddingConfig, relevance, similarity
from tasks.judges.llm import Guessed, scored
from tasks.text import sentences
from tests.tasks.judges.models import minilm, toy_classifier

LONG = "The feed pump P-101 delivers 40 cubic metres an hour at 16 bar. " * 60
TEXTS = ["What is the pressure limit?", "The limit is 16 bar.", "Bananas are yellow.", "", LONG, "16"]


@pytest.fixture(scope="module")
def embed():
    return Embedder(minilm(), EmbeddingConfig(batch_size=2))


def case(question="What is the pressure limit of the pump?", answer="", reference=None, refused=False):
    said = () if refused else tuple(sentences(answer))
    return Case("1", "d", "base", question, ("…",), answer, reference, refused, (), said)


def test_embeddings_are_those_of_sentence_transformers(embed):
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(str(minilm()), device="cpu").encode(TEXTS, normalize_embeddings=True)
    assert np.abs(embed(TEXTS) - expected).max() < 1e-5


def test_a_batch_changes_nothing_beyond_rounding(embed):
    alone = np.concatenate([embed([text]) for text in TEXTS])
    assert np.abs(embed(TEXTS) - alone).max() < 1e-5


def test_an_answer_to_the_question_is_more_relevant_than_one_to_another(embed):
    answers = ["The pressure limit of the pump is 16 bar.", "The housing is painted blue. It was made in Ulm."]
    near, far = (each.score for each in relevance(embed, [case(answer=answer) for answer in answers]))
    assert near > 0.7 > 0.4 > far


def test_the_nearest_sentence_counts(embed):
    short, long = "The pressure limit of the pump is 16 bar.", "The housing is painted blue. It was made in Ulm."
    one, both = (each.score for each in relevance(embed, [case(answer=short), case(answer=f"{long} {short}")]))
    assert one == pytest.approx(both, abs=1e-5)


def test_a_paraphrase_is_more_like_the_reference_than_another_fact(embed):
    reference = "The pump must not exceed 16 bar."
    answers = ["The pressure of the pump may be 16 bar at most.", "The pump stands in hall 4."]
    same, other = (
        each.score for each in similarity(embed, [case(answer=answer, reference=reference) for answer in answers])
    )
    assert same > other + 0.2


def test_refusals_and_missing_references_are_not_scored(embed):
    cases = [case(answer="Not stated.", reference="16 bar.", refused=True), case(answer="16 bar."), case(answer=" ")]
    assert [(each.score, each.reason) for each in similarity(embed, cases)] == [
        (None, "refusal"),
        (None, "no reference"),
        (None, "no reference"),
    ]
    assert [each.reason for each in relevance(embed, cases)] == ["refusal", None, "no claim"]


def copy_with(tmp_path, **pooling):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in minilm().iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def test_pooling_by_the_first_token_is_the_first_tokens_vector(tmp_path, embed):
    library = pytest.importorskip("sentence_transformers")
    told = json.loads((minilm() / "1_Pooling/config.json").read_text())
    folder = copy_with(tmp_path, **told | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    ours = Embedder(folder, EmbeddingConfig())(TEXTS)
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    assert np.abs(ours - expected).max() < 1e-5
    assert np.abs(ours - embed(TEXTS)).max() > 0.01


@pytest.mark.parametrize("mode", ["max_tokens", "mean_sqrt_len_tokens"])
def test_pooling_that_is_not_known_is_refused(tmp_path, mode):
    with pytest.raises(UserError, match=f"pooled by {mode}"):
        Embedder(copy_with(tmp_path, **{f"pooling_mode_{mode}": True}), EmbeddingConfig())


def test_a_model_with_a_further_layer_is_refused(tmp_path):
    folder = copy_with(tmp_path, pooling_mode_mean_tokens=True)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").unlink()
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="has a Dense layer"):
        Embedder(folder, EmbeddingConfig())


def test_any_encoder_will_do(tmp_path):
    embed = Embedder(toy_classifier(tmp_path / "toy", ["a", "b"]), EmbeddingConfig())
    assert np.linalg.norm(embed(["the pump runs", "steel"]), axis=1) == pytest.approx([1, 1])


def test_a_window_beyond_the_models_is_refused():
    with pytest.raises(UserError, match="reads 256 tokens at a time, and window is 300"):
        Embedder(minilm(), EmbeddingConfig(window=300))


def test_pickled_weights_and_missing_tokenizers_are_refused(tmp_path):
    folder = shutil.copytree(toy_classifier(tmp_path / "toy", ["a", "b"]), tmp_path / "bare")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        Embedder(folder, EmbeddingConfig())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="holds no tokenizer"):
        Embedder(folder, EmbeddingConfig())


def test_vectors_of_guessed_questions_are_let_go_of_on_the_way(embed, monkeypatch):
    """All at once, three guessed questions for each answer were 25 kB a row."""
    monkeypatch.setattr("tasks.judges.embedding.MOST", 20)
    said = [Guessed([f"What is {number}?"], False) for number in range(150)]
    cases = [case(question=f"Which is {number}?") for number in range(150)]
    judgements = scored(said, cases, lambda: embed)
    assert len(embed._known) <= 20 + 2 * CHUNK < 300
    alone = embed([cases[149].question, *said[149].questions])
    assert judgements[149].score == pytest.approx(alone[0] @ alone[1], abs=1e-5)
