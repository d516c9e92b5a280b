"""Keys: the same wherever and however the same is asked for, and another for anything else."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.config import Retrain
from tasks.engine import RUNTIME, Config, step
from tasks.engine import key as key_module
from tasks.engine.inputs import Files, HubModel, Local
from tasks.engine.key import Request, identity

ROOT = Path(__file__).resolve().parents[3]


class Inner(Config):
    rate: float = 0.5
    names: tuple[str, ...] = ()
    cores: Annotated[int, RUNTIME] = 1


class Outer(Config):
    count: int = 1
    share: float = 1.0
    title: str = ""
    maybe: float | None = None
    either: Literal["a", "b"] = "a"
    flag: bool = False
    tags: frozenset[str] = frozenset()
    weights: dict[str, float] = {}
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}
    folder: Path = Path("here")
    workers: Annotated[int, RUNTIME] = 1


@step(libraries=("orjson",))
def toy(config: Outer, *, rows: Sequence[Path] = (), base: Path | None = None, out: Path) -> None: ...


def key_of(config: Outer, **inputs) -> str:
    return Request(toy, config, inputs, "toy").key


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(max_size=5)
INNERS = st.builds(Inner, rate=FLOATS, names=st.lists(WORDS, max_size=3).map(tuple), cores=st.integers(1, 64))
OUTERS = st.builds(
    Outer,
    count=st.integers(-(2**53), 2**53),
    share=FLOATS,
    title=WORDS,
    maybe=st.none() | FLOATS,
    either=st.sampled_from(["a", "b"]),
    flag=st.booleans(),
    tags=st.frozensets(WORDS, max_size=4),
    weights=st.dictionaries(WORDS, FLOATS, max_size=4),
    inner=INNERS,
    several=st.lists(INNERS, max_size=2).map(tuple),
    by_name=st.dictionaries(WORDS, INNERS, max_size=2),
    folder=st.sampled_from([Path("a"), Path("b/c")]),
    workers=st.integers(1, 64),
)


def without_runtime(config: Config) -> str:
    """A config as text, written in another way than `identity` does."""
    if isinstance(config, Inner):
        return repr((config.rate, config.names))
    names = ("count", "share", "title", "maybe", "either", "flag", "folder")
    return repr(
        (
            [getattr(config, name) for name in names],
            sorted(config.tags),
            sorted(config.weights.items()),
            without_runtime(config.inner),
            [without_runtime(each) for each in config.several],
            sorted((name, without_runtime(each)) for name, each in config.by_name.items()),
        )
    )


@given(OUTERS, OUTERS)
def test_two_configs_have_one_key_exactly_if_they_are_the_same_but_for_runtime_fields(one, other):
    assert (key_of(one) == key_of(other)) == (without_runtime(one) == without_runtime(other))


@settings(max_examples=10)  # of some twenty leaves each
@given(OUTERS, st.data())
def test_a_change_of_any_field_at_any_depth_changes_the_key_but_of_a_runtime_field_does_not(config, data):
    """Each leaf of the config is changed by itself."""
    plain = config.model_dump()
    for path, runtime in leaves(config):
        changed = Outer.model_validate(replaced(plain, path, data))
        assert (key_of(changed) == key_of(config)) == runtime, path


def leaves(config: Config, prefix: tuple = ()):
    """(path, whether the key leaves it out) of every value that is no config itself."""
    for name, field in type(config).model_fields.items():
        value, runtime = getattr(config, name), RUNTIME in field.metadata
        inside = {(name,): value}
        if name == "several":
            inside = {(name, i): each for i, each in enumerate(value)}
        elif name == "by_name":
            inside = {(name, key): each for key, each in value.items()}
        for path, each in inside.items():
            if isinstance(each, Config):
                yield from leaves(each, (*prefix, *path))
            else:
                yield (*prefix, *path), runtime


def replaced(plain, path: tuple, data):
    """`plain` with another value at `path`."""
    first, *rest = path
    if isinstance(plain, tuple):
        return tuple(replaced(each, tuple(rest), data) if i == first else each for i, each in enumerate(plain))
    if rest:
        return {**plain, first: replaced(plain[first], tuple(rest), data)}
    return {**plain, first: data.draw(another(plain[first]), label=str(path))}


def another(value):
    """A value of the same type that is not equal."""
    match value:
        case bool():
            return st.just(not value)
        case "a" | "b":
            return st.just("b" if value == "a" else "a")
        case int():
            return st.integers(1, 2**53).filter(lambda each: each != value)
        case float() | None:
            return FLOATS.filter(lambda each: each != value)
        case str():
            return WORDS.filter(lambda each: each != value)
        case frozenset():
            return st.frozensets(WORDS, max_size=4).filter(lambda each: each != value)
        case tuple():
            return st.lists(WORDS, max_size=3).map(tuple).filter(lambda each: each != value)
        case dict():
            return st.dictionaries(WORDS, FLOATS, max_size=4).filter(lambda each: each != value)
        case Path():
            return st.just(value / "deeper")
    raise AssertionError(value)


@given(OUTERS, st.randoms(use_true_random=False))
def test_the_order_in_which_a_config_is_written_does_not_matter(config, random):
    def shuffled(value):
        if isinstance(value, dict):
            items = list(value.items())
            random.shuffle(items)
            return {name: shuffled(each) for name, each in items}
        return value

    assert key_of(Outer.model_validate(shuffled(config.model_dump()))) == key_of(config)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_in_a_float_field_may_be_spelled_either_way(number):
    assert key_of(Outer(share=number)) == key_of(Outer(share=float(number))) == key_of(Outer(share=f"{number}"))


@given(FLOATS)
def test_a_float_may_be_spelled_in_any_way_that_reads_as_it(number):
    for spelling in (repr(number), f"{number:.17e}", f"{number:.17g}"):
        assert key_of(Outer(share=spelling)) == key_of(Outer(share=number))


def test_what_is_no_number_has_no_place_in_a_config():
    """JSON would write nan, inf and None alike."""
    for spelling in ("nan", "inf", "-inf"):
        with pytest.raises(ValueError, match="finite"):
            Outer(maybe=float(spelling))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(contents=st.lists(st.binary(max_size=20), min_size=1, max_size=3), names=st.data())
def test_files_count_by_their_bytes_and_order_not_by_name_or_place(tmp_path_factory, contents, names):
    def lay() -> tuple[Path, ...]:
        folder = tmp_path_factory.mktemp("anywhere")
        drawn = names.draw(st.lists(st.from_regex("[a-z]{1,8}", fullmatch=True), unique=True, min_size=3, max_size=3))
        paths = tuple(folder / name for name in drawn[: len(contents)])
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return paths

    one, other = lay(), lay()
    assert key_of(Outer(), rows=Files(one)) == key_of(Outer(), rows=Files(other))
    if len(set(contents)) > 1:
        assert key_of(Outer(), rows=Files(one)) != key_of(Outer(), rows=Files(sorted(one, reverse=True)[:-1]))
    one[0].write_bytes(contents[0] + b"!")
    assert key_of(Outer(), rows=Files(tuple([one[0]]))) != key_of(Outer(), rows=Files(tuple([other[0]])))


def test_a_hub_model_counts_by_its_commit(tmp_path):
    commit = "0123456789" * 4
    assert key_of(Outer(), base=HubModel("org/model", commit)) == key_of(
        Outer(), base=HubModel("org/model", commit, token="hf_secret")
    )
    assert key_of(Outer(), base=HubModel("org/model", commit)) != key_of(
        Outer(), base=HubModel("org/model", commit[::-1])
    )


def test_a_missing_input_differs_from_an_empty_one(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert key_of(Outer(), base=None) != key_of(Outer(), base=Local(tmp_path / "empty"))


@pytest.mark.parametrize("local", ["+cpu", "+cu130", "+rocm6.4", ""])
def test_a_library_counts_by_its_version_without_the_local_part(monkeypatch, local):
    def key_with(version: str) -> str:
        key_module._version.cache_clear()
        monkeypatch.setattr(key_module, "version", lambda name: version)
        return key_of(Outer())

    assert key_with(f"3.11.7{local}") == key_with("3.11.7")
    assert key_with("3.11.8") != key_with("3.11.7")
    key_module._version.cache_clear()


KEYS = """
import json, sys
from pathlib import Path
from flows.config import load
from flows.pipeline import pipeline
from tasks.engine.plan import Planner

tree = load(None, [f"store={sys.argv[1]}", *sys.argv[2:]])
planner = Planner(tree.open_store())
pipeline(tree, planner)
print(json.dumps({s.label: [s.request.step.name, s.line.key] for s in planner.steps if s.status != "waits"}))
"""


def keys_in_a_process_of_its_own(folder: Path, *overrides: str, seed: str, code: Path = ROOT) -> dict[str, list[str]]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(code), "TZ": f"UTC+{int(seed) % 12}"}
    words = [sys.executable, "-c", KEYS, str(folder / "store"), *overrides]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_another_process_folder_hash_seed_and_copy_of_the_code_have_the_same_keys(tmp_path):
    """The keys that can be told before a run, of the real steps on the sample; and those of a clone of the project."""
    import shutil

    clone = tmp_path / "clone"
    for part in ("flows", "tasks"):
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data/plant", tmp_path / "rows")
    here = [f"data.{name}={ROOT}/data/plant/{name}.jsonl" for name in ("train", "evaluation")]
    there = [f"data.{name}={tmp_path}/rows/{name}.jsonl" for name in ("train", "evaluation")]
    base = f"base.model={ROOT}/data/tiny-base"
    keys = keys_in_a_process_of_its_own(tmp_path, base, *here, seed="0")
    assert set(keys) == {"validate", "validate evaluation"}
    assert keys_in_a_process_of_its_own(clone, base, *there, seed="4242", code=clone) == keys


def test_the_configs_of_this_project_hold_nothing_that_json_cannot_tell_apart():
    """Every field of every config is of a type that `identity` writes down."""
    told = identity(Retrain())
    assert json.loads(json.dumps(told)) == told
    assert "store" not in told
