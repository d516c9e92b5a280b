"""Projects on one store: artifacts are shared, all else is each project's own; stores that are older than projects."""

import pytest

from flows.config import load
from flows.promotion.candidates import roles
from flows.promotion.projects import migrate, migration, projects, undo
from flows.promotion.promotions import Promotions
from flows.promotion.upkeep import check, collect
from flows.promotion.versions import versions
from tasks.engine.errors import UserError
from tests.flows.promotion.promoting import adapter, gate


def champion(store) -> str | None:
    found = roles(store).get("champion")
    return found and found.about


@pytest.mark.parametrize(
    ("settings", "project"),
    [
        (["name=Plant North"], "plant-north"),
        (["name=../../etc"], "etc"),
        (["name=Qualität 2"], "qualität-2"),
        (["name=???"], "project"),
        (["name=try 7", "project=plant"], "plant"),
    ],
)
def test_a_project_is_named_by_the_config_as_part_of_a_path(settings, project):
    assert load(None, settings).project == project
    assert load(None, settings).open_store().project == project


@pytest.mark.parametrize("project", ["a/b", "Plant", "..", "two words"])
def test_a_project_that_is_no_part_of_a_path_is_refused_with_one_that_is(project):
    with pytest.raises(UserError, match="project: .*such as"):
        load(None, [f"project={project}"])


def test_each_project_has_its_own_champion_log_names_and_runs_and_shares_artifacts(store):
    north, south = store.of("north"), store.of("south")
    first, second = adapter(north, "first"), adapter(south, "second")
    Promotions(north).promote(first, why="better", gate=gate(north, first))
    Promotions(south).promote(second, why="better", gate=gate(south, second))
    assert (champion(north), champion(south)) == (first.about, second.about)
    assert [entry.state.previous for entry in Promotions(south).entries()] == [None]
    north.point("serving", first.step, first.key)
    north.log_fresh_run("north", {"export": first})
    assert (set(north.aliases()), set(south.aliases())) == ({"serving"}, set())
    assert (len(north.runs()), len(south.runs())) == (1, 0)
    assert south.find(first.step, first.key)
    assert [line.state for line in versions(south)] == ["champion", "made"]  # the other's is an adapter like any
    told = [(each.project, each.champion, each.runs) for each in projects(store)]
    assert told == [("north", first.about, 1), ("south", second.about, 0)]


def test_a_collection_keeps_what_any_project_needs_and_a_check_reads_every_log(store):
    for name in ("north", "south"):
        one = store.of(name)
        Promotions(one).promote(adapter(one, name), why="by hand")
    lost = adapter(store, "lost")
    gone = [item.name for item in collect(store.of("north"), older_than=0, delete=True).items if not item.keep]
    assert lost.about in gone and store.find(*champion(store.of("south")).split("/")) is None  # its key is longer
    assert champion(store.of("south")) not in gone
    store.objects.write("projects/south/promotions/00000001.json", b"{}")
    assert [each.where for each in check(store.of("north")) if not each.mended] == [
        "projects/south/promotions/00000001.json"
    ]


@pytest.fixture
def older(store):
    """A store of before projects into whose one log two configs promoted, one after the other, and a rollback."""
    made = {name: adapter(store, name) for name in ("plant 1", "desk 1", "plant 2")}
    for name, each in made.items():
        store.log_fresh_run(name.split()[0], {"export": each})
        Promotions(store).promote(each, why=name)
    Promotions(store).rollback(why="it errs")
    store.point("serving", made["desk 1"].step, made["desk 1"].key)
    return store, made


def test_a_log_of_one_config_is_its_projects_and_goes_on(store):
    first, second = adapter(store, "first"), adapter(store, "second")
    store.log_fresh_run("plant", {"export": first})
    Promotions(store).promote(first, why="by hand")
    plant = store.of("plant")
    assert champion(plant) == first.about and champion(store.of("desk")) is None
    Promotions(plant).promote(second, why="by hand")
    assert [entry.number for entry in Promotions(plant).entries()] == [1, 2]
    assert champion(plant) == second.about
    migrate(plant)
    assert not store.objects.glob("promotions/*.json") and champion(plant) == second.about
    assert not [each for each in check(plant) if not each.mended]


def test_a_log_of_several_configs_is_refused_until_it_is_parted_and_that_can_be_taken_back(older):
    store, made = older
    before = {name: store.objects.read(name) for name in store.objects.glob("*/*.json")}
    with pytest.raises(UserError, match=r"(?s)several projects: desk, plant.*--migrate"):
        roles(store.of("plant"))
    shown = migration(store.of("plant"))
    assert "projects/desk/promotions/00000001.json" in shown and "projects/desk/aliases/serving.json" in shown
    assert {name: store.objects.read(name) for name in store.objects.glob("*/*.json")} == before  # only shown
    migrate(store.of("plant"))
    assert champion(store.of("plant")) == made["plant 1"].about
    assert champion(store.of("desk")) == made["desk 1"].about
    assert [entry.why for entry in Promotions(store.of("plant")).entries()] == ["plant 1", "plant 2", "it errs"]
    assert (len(store.of("plant").runs()), len(store.of("desk").runs())) == (2, 1)
    assert not [each for each in check(store) if not each.mended]
    assert undo(store) == len(before)
    assert {name: store.objects.read(name) for name in store.objects.glob("*/*.json")} == before
    assert not store.objects.glob("projects/*/*/*.json")


def test_a_migration_is_not_taken_back_over_a_promotion(older):
    store, made = older
    migrate(store)
    Promotions(store.of("desk")).promote(adapter(store, "desk 2"), why="by hand")
    with pytest.raises(UserError, match="desk has 1 entries"):
        undo(store)
    assert champion(store.of("plant")) == made["plant 1"].about


def test_a_migration_that_is_killed_is_done_again(older, monkeypatch):
    store, made = older
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(type(store.objects), "write", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        migrate(store)
    migrate(store)
    assert champion(store.of("plant")) == made["plant 1"].about and not migration(store)
