"""The vocabulary of a base model, read in a process of its own."""

import sys

import pytest

from tasks.data.dataset.vocabulary import read_vocabulary
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tests.tasks.prompts.families import family_tokenizer, templates

LLAMA = pytest.param("llama3", marks=[pytest.mark.slow, pytest.mark.nightly])


@pytest.fixture(params=["the tiny base", LLAMA, "qwen2_5"])
def base(request, tmp_path):
    if request.param == "the tiny base":
        return ROOT / "data/tiny-base"
    family_tokenizer(tmp_path, templates()[request.param])
    if request.param == "qwen2_5":
        from transformers import Qwen2Config

        Qwen2Config(vocab_size=600).save_pretrained(tmp_path)  # AutoTokenizer puts its own splitter in
    return tmp_path


def test_a_tokenizer_is_read_in_a_process_without_torch_as_it_is_here(monkeypatch, base):
    import transformers  # noqa: F401  whoever has it at hand reads it there

    here = read_vocabulary(base)
    monkeypatch.delitem(sys.modules, "transformers")
    assert read_vocabulary(base) == here


def test_a_tokenizer_that_cannot_be_read_is_told_by_the_process_that_tried(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    with pytest.raises(UserError, match="holds no tokenizer.json"):
        read_vocabulary(tmp_path)
