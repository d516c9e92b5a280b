"""Language files: complete, checked on loading, and in the key of every step that reads them."""

import importlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.engine.code.reach import code_of
from tasks.engine.code.source import ROOT
from tasks.engine.step import Step
from tasks.text.language import ENGLISH, LANGUAGE_FILES, LANGUAGES, Language, _built, _read, language


def steps() -> list[Step]:
    modules = [importlib.import_module(f"tasks.{path.stem}") for path in (ROOT / "tasks").glob("*.py")]
    return [each for module in modules for each in vars(module).values() if isinstance(each, Step)]


def test_every_language_file_is_named():
    assert set(LANGUAGE_FILES) == {str(path.relative_to(ROOT)) for path in (ROOT / "tasks").rglob("languages/*.yaml")}


def test_every_step_that_reads_a_language_has_its_file_in_the_key():
    reading = set()
    for each in steps():
        if "tasks.text.language:language" in code_of(each.function.__module__, each.function.__name__):
            reading.add(each.name)
            assert set(LANGUAGE_FILES) <= set(each.resources), each.name
        else:
            assert not set(LANGUAGE_FILES) & set(each.resources), each.name
    assert {"validate", "build", "score", "slices", "judge", "report"} <= reading


def test_an_unknown_field_of_a_language_file_is_an_error_that_names_it():
    import yaml

    data = yaml.safe_load(Path(ROOT / LANGUAGE_FILES[0]).read_text(encoding="utf-8"))
    with pytest.raises(ValidationError, match="stop_word\\b"):
        Language.model_validate(data | {"stop_word": "a b"})


def test_every_wording_needs_groups_that_there_are():
    known = language().refusal
    assert {group for each in known.wordings.values() for group in each.needs} == known.groups.keys()


def test_every_language_but_english_has_the_parts_of_the_shared_wordings_and_a_new_one_may_have_some():
    shared = _read("refusals")
    for code in set(LANGUAGES) - {ENGLISH}:
        assert shared["wordings"].keys() <= language(code).refusal.wordings.keys(), code
    parts = {"source": r"teksti\w*", "says_not": r"\bei (?:mainitse|kerro)\b"}
    new = Language.model_validate({"name": "Finnish", "refusal": _built({"parts": parts}, shared)})
    assert set(new.refusal.wordings) == {"the source says it not", "it is not said in the source"}
