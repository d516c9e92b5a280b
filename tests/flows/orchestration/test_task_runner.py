"""Steps as Prefect tasks, on a real server: what the UI would show."""

import json
import re
from pathlib import Path
from typing import Any

from tasks.engine import Config, step
from tasks.engine.inputs import Files
from tasks.engine.storage.store import Store
from tests.waiting import wait_until


@step(parts=("train",))
def split(config: Config, *, rows: Path, out: Path) -> None:
    (out / "train").mkdir()
    (out / "train/rows.txt").write_bytes((rows / "rows.txt").read_bytes())


@step()
def fit(config: Config, *, train: Path, base: list[Path], start: Path | None = None, out: Path) -> None:
    (out / "weights.txt").write_text("0.5")


class CountConfig(Config):
    number: int


@step()
def count(config: CountConfig, *, rows: list[Path], out: Path) -> None:
    (out / "number.txt").write_text(str(config.number))


@step()
def copy(config: Config, *, rows: list[Path], out: Path) -> None:
    (out / "rows.txt").write_bytes(rows[0].read_bytes())
    (out / "report.md").write_text("## copied")


def run(store: Store, rows: Path) -> str:
    """Run the step in a flow; returns the name of the task run's final state."""
    from prefect import flow
    from prefect.client.orchestration import get_client

    from flows.orchestration.task_runner import TaskRunner

    @flow
    def toy() -> str:
        TaskRunner(store)(copy, Config(), rows=Files((rows,)))
        from prefect.context import FlowRunContext

        return str(FlowRunContext.get().flow_run.id)

    flow_run = toy()
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
    (task_run,) = found
    return task_run.state.name


def test_a_step_shows_completed_then_cached(prefect_server, tmp_path, rows):
    store = Store(tmp_path / "store")
    assert run(store, rows) == "Completed"
    assert run(store, rows) == "Cached"


def test_a_harmed_artifact_runs_again_although_prefect_has_a_record_of_it(prefect_server, tmp_path, rows):
    store = Store(tmp_path / "store")
    run(store, rows)
    (store.match("copy").folder / "rows.txt").write_text("one roW")
    assert run(store, rows) == "Completed"
    assert (store.match("copy").folder / "rows.txt").read_text() == "one row"


def test_a_whole_artifact_that_prefect_never_heard_of_shows_cached(prefect_server, tmp_path, rows):
    import shutil

    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

    store = Store(tmp_path / "store")
    run(store, rows)
    shutil.rmtree(PREFECT_LOCAL_STORAGE_PATH.value())
    assert run(store, rows) == "Cached"


def test_a_pickle_that_others_left_in_the_store_is_not_run(prefect_server, tmp_path, rows):
    """Prefect unpickles a record that says it is a pickle, whatever serializer the task has."""
    import base64
    import pickle

    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

    class Bomb:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    store = Store(tmp_path / "store")
    run(store, rows)
    (record,) = PREFECT_LOCAL_STORAGE_PATH.value().glob(f"copy-{store.match('copy').key}*")
    fields = json.loads(record.read_text())
    fields["metadata"]["serializer"] = {"type": "pickle", "picklelib": "cloudpickle"}
    fields["result"] = base64.encodebytes(pickle.dumps(Bomb())).decode()
    for folder in (store.root / ".prefect", store.root, store.match("copy").folder):
        folder.mkdir(exist_ok=True)
        (folder / record.name).write_text(json.dumps(fields))
    record.unlink()
    assert run(store, rows) == "Cached"
    assert not (tmp_path / "ran").exists()
    assert record.exists() and not record.is_relative_to(store.root)
    record.write_text(json.dumps(fields))  # in Prefect's own home it would have run: only this user may write there
    run(store, rows)
    assert (tmp_path / "ran").exists()


def test_a_step_that_ran_has_an_artifact_that_tells_how_it_came_to_be(prefect_server, tmp_path, rows):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    def shown() -> list:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["copy"]))
        with get_client(sync_client=True) as client:
            return client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)

    store = Store(tmp_path / "store")
    assert run(store, rows) == "Completed"
    found = shown()
    assert run(store, rows) == "Cached"
    assert len(shown()) == len(found)
    about, one = store.match("copy").about, found[0]
    assert one.task_run_id
    assert one.description == "copy: Completed"
    assert "## copied" in one.data
    assert "| why | no earlier artifact |" in one.data
    assert f"`reground lineage {about}`" in one.data


def test_every_step_has_a_row_that_says_whether_it_was_cached_and_why_it_is(prefect_server, tmp_path, rows):
    from prefect import flow

    from flows.orchestration.task_runner import TaskRunner

    @flow
    def toy() -> str:
        runner = TaskRunner(store)
        runner(copy, Config(), rows=Files((rows,)))
        return runner.steps()

    store = Store(tmp_path / "store")
    for state in ("Completed", "Cached"):
        row = toy().splitlines()[-1]
        assert row == f"| copy | {state} | `{store.match('copy').about}` | 0.00 MiB | no earlier artifact |"


def test_each_task_shows_the_tasks_that_made_its_inputs_in_this_run(prefect_server, tmp_path, rows):
    """Edges as the page of a flow run draws them; an artifact that is only found in the store has none."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    from flows.orchestration.task_runner import TaskRunner

    store = Store(tmp_path / "store")
    files = Files((rows,))

    @flow
    def chain(start: str | None) -> str:
        run = TaskRunner(store)
        copied = run(copy, Config(), label="copy it", rows=files)
        dataset = run(split, Config(), rows=copied)
        earlier = store.match(start) if start else None
        first = run(fit, Config(), label="fit first", train=dataset["train"], base=files, start=earlier)
        run(fit, Config(), label="fit second", train=dataset["train"], base=files, start=first)
        return str(FlowRunContext.get().flow_run.id)

    def edges(flow_run: str) -> dict[str, set[str]]:
        """Label → labels of upstream tasks. The server takes its time to write down what it is sent."""

        def all_begun() -> dict[str, Any] | None:
            with get_client(sync_client=True) as client:
                graph = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": flow_run}).json()
            nodes = {node["id"]: node for _, node in graph["nodes"]}
            named = [re.search(r" [0-9a-f]{8}$", node["label"]) for node in nodes.values()]  # once it has begun
            return nodes if len(nodes) == 4 and all(named) else None

        nodes = wait_until(all_begun, every=0.5)
        labels = {name: node["label"].rpartition(" ")[0] for name, node in nodes.items()}
        return {labels[name]: {labels[each["id"]] for each in node["parents"]} for name, node in nodes.items()}

    wanted = {
        "copy it": set(),
        "split": {"copy it"},
        "fit first": {"split"},
        "fit second": {"split", "fit first"},
    }
    assert edges(chain(None)) == wanted
    assert edges(chain(None)) == wanted  # all of them cached
    assert edges(chain("fit")) == wanted  # an adapter of an earlier run is no task of this one


def test_no_task_is_linked_to_an_earlier_one_by_the_address_of_its_result(prefect_server, tmp_path, rows):
    """Prefect takes a new object at the address of one that was freed for that task's result: an edge that is none."""
    from prefect import flow
    from prefect.context import FlowRunContext

    from flows.orchestration.task_runner import TaskRunner

    known: list[dict[int, Any]] = []

    def before(step: Any, done: bool) -> None:
        if not done:
            known.append(dict(FlowRunContext.get().run_results))

    @flow
    def many() -> None:
        run = TaskRunner(Store(tmp_path / "store"), on_step=before)
        for number in (1, 2, 1):
            run(count, CountConfig(number=number), label=f"count {number}", rows=Files((rows,)))
        assert FlowRunContext.get().run_results  # the last one's: there is something to forget

    many()
    assert known == [{}, {}, {}]
