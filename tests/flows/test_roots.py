"""What a worker that has roots lets runs name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from flows.config import DataConfig, Retrain, load
from flows.maintain import maintain
from flows.promote import promote, rollback
from flows.refresh import Refresh, refresh
from flows.settings import places, refuse_outside
from tasks.engine import Config, Text
from tasks.engine.errors import UserError


@pytest.fixture
def data(tmp_path):
    for name in ("data", "store", "data2"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/rows.jsonl").write_text("{}\n")
    (tmp_path / "data2/secret.jsonl").write_text("{}\n")
    (tmp_path / "data/link.jsonl").symlink_to(tmp_path / "data2/secret.jsonl")
    return tmp_path


@pytest.fixture
def refused(data, monkeypatch):
    """Which setting is refused, None if none is."""
    monkeypatch.setenv("REGROUND_ROOTS", f"{data}/data, {data}/store,s3://team/reground")
    own = {
        "data.train": f"{data}/data/rows.jsonl",
        "data.evaluation": "null",
        "base.model": "org/model",
        "store": f"{data}/store",
    }

    def refused(**settings: str) -> str | None:
        named = own | {name.replace("__", "."): value for name, value in settings.items()}
        try:
            refuse_outside(load(None, [f"{name}={value}" for name, value in named.items()]))
        except UserError as error:
            return error.what.partition(":")[0]
        return None

    return refused


def test_what_lies_below_is_taken(refused, data):
    assert refused() is None
    assert refused(store="s3://team/reground/mine", data__evaluation=f"{data}/data/r*.jsonl") is None


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "{}/data/../data2",
        "{}/data2",
        "{}/*/rows.jsonl",
        "{}/data/link.jsonl",
        "{}/data/*",
        "{}/data",
    ],
)
def test_data_elsewhere_is_refused_however_it_is_written(refused, data, source):
    assert refused(data__train=source.format(data)) == "data.train"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("base.model", "/"),
        ("prompt.template", "/tmp/x.jinja"),
        ("judge.embedding.model", "/tmp"),
        ("judge.entailment.model", "/tmp"),
        ("store", "s3://team/reground2"),
        ("store", "s3://team/reground/../other"),
        ("store", "/tmp/store"),
        ("cache", "/tmp/cache"),
        ("train.model.trust_remote_code", "0" * 64),
    ],
)
def test_everything_else_that_leads_out_is_refused(refused, setting, value):
    assert refused(**{setting.replace(".", "__"): f"'{value}'"}) == setting


def test_a_cluster_of_the_runs_own_is_refused(refused):
    assert refused(runner="dask", runner_address="tcp://elsewhere:8786") == "runner_address"


def test_a_key_is_not_sent_to_where_a_run_says(refused):
    assert refused(judge__llm__model="m") is None  # on this machine
    for url in ("https://elsewhere/v1", "http://127.0.0.1.evil/v1"):
        assert refused(judge__llm__model="m", judge__llm__endpoint__url=url) == "judge.llm.endpoint.url"


def test_an_endpoint_that_no_judge_uses_is_no_reason_to_refuse_a_run(refused, data):
    remote = {"judge__llm__endpoint__url": "https://elsewhere/v1"}
    assert refused(**remote) is None
    assert refused(**remote, judge__embedding__model=f"{data}/data") is None
    assert refused(**remote, judge__llm__model="m") == "judge.llm.endpoint.url"


def test_a_run_is_refused_before_it_opens_its_store(data, monkeypatch):
    from flows.orchestration.run import run

    monkeypatch.setenv("REGROUND_ROOTS", f"{data}/data")
    with pytest.raises(UserError, match="store: .* outside of what runs may use"):
        run(
            load(
                None,
                [f"data.train={data}/data/rows.jsonl", "data.evaluation=null", f"store={data}/new", "base.model=o/m"],
            )
        )
    assert not (data / "new").exists()


@pytest.mark.parametrize("flow", [maintain, promote, refresh, rollback])
def test_no_flow_goes_to_a_store_elsewhere(data, monkeypatch, flow):
    monkeypatch.setenv("REGROUND_ROOTS", f"{data}/store")
    request = flow.fn.__annotations__["request"]
    needed = {"because": "it errs"} if "because" in request.model_fields else {}
    with pytest.raises(UserError, match="store: .* outside of what runs may use"):
        flow.fn(request(store=f"{data}/new", **needed))
    assert not (data / "new").exists()


def test_a_refresh_looks_at_no_data_elsewhere(data, monkeypatch):
    monkeypatch.setenv("REGROUND_ROOTS", f"{data}/data,{data}/store")
    named = DataConfig(train=f"{data}/data2/secret.jsonl", evaluation=None)
    with pytest.raises(UserError, match=r"data\.train: .* outside of what runs may use"):
        refresh.fn(Refresh(store=f"{data}/store", data=named))
    assert not list((data / "store").iterdir())


class Extended(Retrain):
    """What somebody adds who has never heard of roots."""

    class Section(Config):
        cards: tuple[str, ...] = ()
        folder: Path | None = None
        named: Mapping[str, str] = {}
        kind: Literal["a", "b"] = "a"
        title: Text = "Annual report"

    lookup: str | None = None
    more: Section = Section()


@pytest.mark.parametrize(
    ("added", "setting"),
    [
        ({"lookup": "/etc/passwd"}, "lookup"),
        ({"lookup": "secret.txt"}, "lookup"),  # in the worker's folder, which is no root
        ({"more": {"cards": ["{}/data", "/etc/passwd"]}}, "more.cards"),
        ({"more": {"folder": "/etc"}}, "more.folder"),
        ({"more": {"named": {"x": "s3://others/bucket"}}}, "more.named"),
        ({"lookup": "{}/data/rows.jsonl", "more": {"kind": "b", "title": "/etc"}}, None),
    ],
)
def test_a_path_that_is_added_to_the_config_is_covered_without_being_listed(data, monkeypatch, added, setting):
    monkeypatch.setenv("REGROUND_ROOTS", f"{data}/data")
    own = {"store": f"{data}/data", "base": {"model": "org/model"}, "data": {"train": f"{data}/data/rows.jsonl"}}
    tree = json.loads(json.dumps(own | added).replace("{}", str(data)))
    tree["data"]["evaluation"] = None
    request = Extended.model_validate(tree)
    if setting:
        with pytest.raises(UserError, match=f"^{setting}: .* outside of what runs may use"):
            refuse_outside(request)
    else:
        refuse_outside(request)


def test_with_default_values_these_settings_name_places():
    """A new text setting counts as a path: mark it `Text` if it never names one."""
    assert [place.setting for place in places(Retrain())] == ["store", "data.train", "data.evaluation", "base.model"]


def test_without_roots_nothing_is_refused(monkeypatch):
    config = load(None, ["data.train=/etc/passwd", "store=/tmp/x"])
    monkeypatch.setenv("REGROUND_ROOTS", "/elsewhere")
    with pytest.raises(UserError):
        refuse_outside(config)
    monkeypatch.delenv("REGROUND_ROOTS")
    assert refuse_outside(config) is None
