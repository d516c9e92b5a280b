"""A run whose data is a remnant of the earlier data stops before it trains, by the store's records."""

import json

import pytest

from flows.adapters import Direct
from flows.lost import require_kept
from flows.pipeline import pipeline
from tasks.engine.errors import UserError

SMALL = 19  # of 80 rows


def few(lines):
    return lines[:SMALL]


def of_others(lines):
    """The same number of rows, of other documents: somebody put another export in its place."""
    return [json.dumps(row | {"document": f"other {row['document']}"}) + "\n" for row in map(json.loads, lines)]


def ran(project):
    """The steps of a run that were reached, by label, and the error that ended it."""
    reached = {}
    direct = Direct(project.config.open_store(), lambda step, done: reached.setdefault(step.label, step.status))
    with pytest.raises(UserError) as stopped:
        pipeline(project.config, direct)
    return reached, str(stopped.value), direct


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("train", few, (f"{SMALL} training rows, not 80", "documents gone")),
        ("train", of_others, ("documents gone",)),
        ("evaluation", lambda lines: lines[:4], ("4 evaluation rows, not 24",)),
    ],
    ids=["rows", "documents", "evaluation"],
)
def test_a_remnant_stops_before_training_with_numbers_the_earlier_data_and_the_setting(project, file, change, words):
    (before,) = project.own_store().glob("build/*")
    project.lines(f"{file}.jsonl", change)
    reached, told, direct = ran(project)
    assert list(reached)[-1] == "build" and not {"train", "export"} & reached.keys()
    assert "lost more than 50% since the last training" in told and f"build/{before.name}" in told
    assert all(each in told for each in words) and "data.max_lost" in told, told
    asked = {"name": "tiny", "most": 1.0}
    require_kept(direct.store, direct.made["build"], **asked)  # allowed
    direct.store.log_fresh_run("tiny", direct.made)  # a run that was stopped is nothing to compare with
    with pytest.raises(UserError, match="since the last training"):
        require_kept(direct.store, direct.made["build"], **asked | {"most": 0.5})


def test_more_rows_other_wording_and_the_first_data_of_a_config_are_no_loss(project):
    project.own_store()
    store = project.config.open_store()
    project.lines("train.jsonl", lambda lines: lines[:50])
    direct = Direct(store, lambda step, done: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.pipeline.require_kept", stop)
        with pytest.raises(StopIteration):
            pipeline(project.config, direct)
    require_kept(store, direct.made["build"], name="tiny", most=0.5)
    require_kept(store, direct.made["build"], name="another", most=0.0)


def stop(*_, **__):
    raise StopIteration
