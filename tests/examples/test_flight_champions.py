"""Who is champion: one move of an alias in a real registry, written down, and taken back by one command."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import champions
import data
import flow
import manage
import model
import pytest
import records
import registry
import schema
import training
from training import Trained

from resilient_tasks.validation.profile import profile


@pytest.fixture(scope="module")
def flights():
    return data.load_flights()


@pytest.fixture(scope="module")
def fitted(flights):
    return model.train(data.month_of(flights, 1).head(1_000), data.load_planes())


@pytest.fixture(scope="module")
def opened(tmp_path_factory, flights, fitted):
    """A registry that two worker threads opened at the same time, while it was new; versions 1 to 3 are in it."""
    shared = registry.Registry(tmp_path_factory.mktemp("models") / "registry")

    def register(month):
        known = profile(data.month_of(flights, month), schema.Flights)
        tags = {"month": f"2013-0{month}", "trained_until": f"2013-0{month}-21", "verdict": "kept", "why": "so"}
        return shared.register(f"key/{month}", fitted, known, tags)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        # It reads the files of every installed package, only to warn: two seconds, and no part of what is tested.
        patch.setattr("mlflow.utils.environment.warn_dependency_requirement_mismatches", lambda _: None)
        versions = list(pool.map(register, [1, 2]))
        versions.append(register(7))
        versions.append(register(7))
    return shared, versions


@pytest.fixture
def kept(opened):
    """The registry and its versions of January, February and July, without a champion."""
    shared, versions = opened
    client = shared.client()
    client.delete_registered_model_alias(registry.NAME, registry.CHAMPION)
    for tag in client.get_registered_model(registry.NAME).tags:
        client.delete_registered_model_tag(registry.NAME, tag)
    return shared, versions[:3]


def aliases(of):
    """Read what any other process would read, past every cache of this one."""
    with closing(sqlite3.connect(of.folder / "mlflow.db")) as database:
        return dict(database.execute("SELECT alias, version FROM registered_model_aliases").fetchall())


def test_worker_threads_that_open_a_new_registry_together_lose_no_version(opened):
    shared, versions = opened

    assert sorted(versions[:2]) == [1, 2]
    assert [path.name for path in shared.folder.parent.iterdir()] == ["registry"], "nothing is written beside it"


def test_a_repeated_attempt_registers_nothing_twice(opened):
    shared, versions = opened

    assert versions[2:] == [3, 3]
    assert shared.of_run("key/7") == 3
    assert shared.of_run("key/8") is None


def test_registering_moves_the_alias_of_the_challenger_alone(kept):
    shared, versions = kept

    assert aliases(shared) == {"challenger": versions[2]}
    assert shared.champion() is None


def test_promotion_is_one_move_of_an_alias_that_lives_in_the_database(kept, flights, fitted):
    shared, (january, february, _) = kept

    assert champions.promote(shared, january, "first")
    assert aliases(shared)["champion"] == january
    assert champions.promote(shared, february, "better", who="the flow")

    assert aliases(shared)["champion"] == february
    found = registry.Registry(shared.folder).champion()
    assert (found.version, found.month, found.trained_until) == (february, "2013-02", "2013-02-21")
    some, planes = data.month_of(flights, 1).head(100), data.load_planes()
    assert (found.model.predict(some, planes) == fitted.predict(some, planes)).all()
    moves = champions.history(shared)
    assert [(move.version, move.what, move.why) for move in moves] == [
        (january, "promoted", "first"),
        (february, "promoted", "better"),
    ]
    assert moves[1].who == "the flow"
    assert champions.first(shared) == january


def test_promoting_the_champion_again_changes_nothing(kept):
    shared, (january, *_) = kept
    champions.promote(shared, january, "first")

    assert not champions.promote(shared, january, "once more")

    assert len(champions.history(shared)) == 1


def test_an_attempt_that_ended_between_the_move_and_its_line_is_completed_by_the_next(kept, monkeypatch):
    shared, (january, *_) = kept
    with monkeypatch.context() as patch:
        patch.setattr(champions, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            champions.promote(shared, january, "first")
    assert champions.history(shared) == []

    assert champions.promote(shared, january, "first")

    assert [(move.version, move.what) for move in champions.history(shared)] == [(january, "promoted")]


def test_rollback_goes_back_champion_by_champion_and_refuses_before_the_first(kept):
    shared, versions = kept
    for version in versions:
        champions.promote(shared, version, "better")

    back = [champions.rollback(shared, "late flights").version for _ in range(2)]

    assert back == [versions[1], versions[0]]
    assert aliases(shared)["champion"] == versions[0]
    with pytest.raises(champions.NoEarlierChampionError, match="is the first champion"):
        champions.rollback(shared, "again")
    assert [move.what for move in champions.history(shared)] == ["promoted"] * 3 + ["rolled back"] * 2


def test_after_a_rollback_the_next_champion_stands_before_the_one_that_was_rolled_back_to(kept):
    shared, (january, february, july) = kept
    champions.promote(shared, january, "first")
    champions.promote(shared, february, "better")
    champions.rollback(shared, "worse after all")
    champions.promote(shared, july, "better")

    assert champions.rollback(shared, "worse, too").version == january


def test_without_a_champion_there_is_nothing_to_roll_back(kept):
    shared, _ = kept

    with pytest.raises(champions.NoEarlierChampionError, match="no champion yet"):
        champions.rollback(shared, "why not")


def test_a_move_by_other_means_is_added_to_the_history_and_can_be_rolled_back(kept):
    shared, (january, february, _) = kept
    champions.promote(shared, january, "first")
    shared.client().set_registered_model_alias(registry.NAME, registry.CHAMPION, str(february))

    assert champions.rollback(shared, "who was that?").version == january

    assert [move.what for move in champions.history(shared)] == ["promoted", "moved", "rolled back"]


def test_the_commands_promote_roll_back_and_tell_who_was_champion(kept, capsys):
    shared, (january, _, july) = kept
    out = ["--out", str(shared.folder.parent)]

    assert manage.main([*out, "promote", str(january), "--why", "planes checked by hand"]) == 0
    assert manage.main([*out, "promote", "challenger"]) == 0
    assert manage.main([*out, "rollback", "--why", "late flights"]) == 0
    capsys.readouterr()
    assert manage.main([*out, "history"]) == 0
    said = capsys.readouterr().out

    assert f"2013-01  version {january} promoted by" in said
    assert ": planes checked by hand\n" in said
    assert f"2013-07  version {july} promoted by" in said
    assert f"2013-01  version {january} rolled back by" in said
    assert f"champion: version {january} of 2013-01" in said


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["promote", "99"], "there is no version 99 of flight-times; there are: 1, 2, 3"),
        (["promote", "best"], '"best" is no version: give a number, or "challenger"'),
        (["rollback"], "there is no champion yet: nothing was promoted"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_and_moves_nothing(kept, capsys, command, sentence):
    shared, _ = kept

    assert manage.main(["--out", str(shared.folder.parent), *command]) == 1

    assert sentence in capsys.readouterr().out
    assert "champion" not in aliases(shared)


def test_a_folder_without_a_registry_is_named_and_none_is_made(tmp_path, capsys):
    assert manage.main(["--out", str(tmp_path), "history"]) == 1

    assert f"there is no registry in {tmp_path / 'registry'}" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_month_is_compared_with_the_champions_month(kept, flights, monkeypatch):
    shared, (january, _, july) = kept
    monkeypatch.setenv("FLIGHT_TIMES_OUT", str(shared.folder.parent))
    summer = data.month_of(flights, 7)
    assert training.drift_since_promotion(summer) is None, "nothing to compare with before the first champion"
    champions.promote(shared, january, "first")
    champions.promote(shared, july, "better")
    assert training.drift_since_promotion(summer).noted == ()

    champions.rollback(shared, "back to winter")

    report = training.drift_since_promotion(summer)
    assert report.action == "warn", "half a year is a shift, and no reason not to train"
    assert [column.column for column in report.noted] == ["air_time"]
    assert report.noted[0].psi == pytest.approx(0.155, abs=0.01)


@pytest.mark.parametrize(("every", "verdict"), [(1, ("stop", ("distance",))), (2, ("warn", ()))])
def test_a_month_in_kilometres_is_stopped_by_the_drift_gate_and_one_of_which_half_is_so_is_noted(
    kept, flights, monkeypatch, every, verdict
):
    shared, (january, *_) = kept
    monkeypatch.setenv("FLIGHT_TIMES_OUT", str(shared.folder.parent))
    champions.promote(shared, january, "first")
    february = data.month_of(flights, 2).copy()
    rows = february.index[::every]
    february.loc[rows, "distance"] = (february.loc[rows, "distance"] * 1.609).astype("Int64")

    report = training.drift_since_promotion(february)

    assert (report.action, report.drifted) == verdict
    assert "distance" in [column.column for column in report.noted]


def test_a_month_is_one_mlflow_run_however_often_it_is_written(kept):
    shared, _ = kept
    result = flow.MonthResult(
        "2013-07", 100, used=90, missing=7, quarantined=3, retries=4, trained=Trained(3, 16.2, 9.8, 9.1, "kept", "so")
    )

    for _ in range(2):
        records.write(shared, "key/7", result, 1, "<h1>July</h1>")

    (record,) = records.read(shared)
    assert record == records.Record("2013-07", "kept", "so", 9.1, 9.8, 16.2)
    assert records.next_month(shared) == 8


@pytest.fixture
def deleted(kept):
    """The registry with January's model as champion, then one that was deleted, then July's."""
    shared, (january, _, july) = kept
    client = shared.client()
    tags = {"month": "2013-03", "trained_until": "2013-03-21", "verdict": "kept", "why": "so"}
    source = client.get_model_version(registry.NAME, str(january)).source
    made = int(client.create_model_version(registry.NAME, source, tags=tags).version)
    for version in (january, made, july):
        champions.promote(shared, version, "better")
    client.delete_model_version(registry.NAME, str(made))
    return shared, made


def test_a_rollback_passes_over_a_champion_that_was_deleted(deleted, capsys, kept):
    shared, (january, *_) = kept

    assert manage.main(["--out", str(shared.folder.parent), "rollback"]) == 0

    assert aliases(shared)["champion"] == january
    assert f"2013-01  version {january} rolled back" in capsys.readouterr().out


def test_where_all_earlier_champions_were_deleted_a_rollback_says_so_and_moves_nothing(kept, deleted, capsys):
    shared, (_, _, july) = kept
    client = shared.client()
    for tag, text in client.get_registered_model(registry.NAME).tags.items():
        if '"2013-01"' in text:
            client.delete_registered_model_tag(registry.NAME, tag)

    assert manage.main(["--out", str(shared.folder.parent), "rollback"]) == 1

    assert f"version {july} is the first champion that is still in the registry" in capsys.readouterr().out
    assert aliases(shared)["champion"] == july


def test_once_the_first_champion_is_deleted_the_next_one_is_the_frozen_model(kept, deleted):
    shared, (january, _, july) = kept
    assert champions.first(shared) == january
    client = shared.client()
    for tag, text in client.get_registered_model(registry.NAME).tags.items():
        if '"2013-01"' in text:
            client.delete_registered_model_tag(registry.NAME, tag)

    assert champions.first(shared) == july, "the deleted one is passed over: no month could be trained on otherwise"


def test_a_version_that_was_registered_by_other_means_cannot_be_promoted(kept, capsys):
    shared, (january, *_) = kept
    client = shared.client()
    source = client.get_model_version(registry.NAME, str(january)).source
    made = client.create_model_version(registry.NAME, source).version
    try:
        assert manage.main(["--out", str(shared.folder.parent), "promote", str(made)]) == 1
    finally:
        client.delete_model_version(registry.NAME, str(made))

    assert f"version {made} was not registered by this flow: its tag month is missing" in capsys.readouterr().out
    assert "champion" not in aliases(shared)


def test_without_a_challenger_its_name_is_refused(kept, capsys):
    shared, (*_, july) = kept
    shared.client().delete_registered_model_alias(registry.NAME, registry.CHALLENGER)
    try:
        assert manage.main(["--out", str(shared.folder.parent), "promote", "challenger"]) == 1
    finally:
        shared.client().set_registered_model_alias(registry.NAME, registry.CHALLENGER, str(july))

    assert "there is no challenger" in capsys.readouterr().out


def test_a_picture_that_cannot_be_written_is_a_sentence(kept, capsys, tmp_path):
    shared, _ = kept
    result = flow.MonthResult("2013-07", 100, used=90, trained=Trained(3, 16.2, 9.8, 9.1, "kept", "so"))
    records.write(shared, "key/7", result, 1, "")

    assert manage.main(["--out", str(shared.folder.parent), "plot", str(tmp_path / "no" / "folder.png")]) == 1

    assert "No such file or directory" in capsys.readouterr().out


def test_a_champion_that_another_program_registered_can_be_looked_at_and_rolled_back(kept, capsys):
    shared, (january, *_) = kept
    champions.promote(shared, january, "first")
    client = shared.client()
    source = client.get_model_version(registry.NAME, str(january)).source
    made = client.create_model_version(registry.NAME, source).version
    client.set_registered_model_alias(registry.NAME, registry.CHAMPION, made)
    out = ["--out", str(shared.folder.parent)]
    try:
        assert manage.main([*out, "history"]) == 0
        assert f"champion: version {made}, which another program registered" in capsys.readouterr().out
        with pytest.raises(registry.NoSuchVersionError, match="its tag month is missing"):
            shared.champion()
        assert manage.main([*out, "rollback"]) == 0
    finally:
        client.delete_model_version(registry.NAME, str(made))

    assert aliases(shared)["champion"] == january
