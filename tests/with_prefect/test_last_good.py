"""LastGood in Prefect's runs: the storage and format of results, and the messages of states."""

import json
import os
import sys
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from prefect import flow
from prefect.cache_policies import INPUTS
from prefect.filesystems import LocalFileSystem, WritableFileSystem
from prefect.futures import wait
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.utilities.asyncutils import sync_compatible

from resilient_tasks import Degraded, Failed, Fallback, LastGood, Ok, outcome_of, resilient_flow, resilient_task
from resilient_tasks.core.events import FallbackUsed
from resilient_tasks.prefect.messages import event_from_state

HERE = str(Path(__file__).parent)

pytestmark = pytest.mark.usefixtures("resilient_prefect", "resilient_clock")


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


class Service:
    def __init__(self, *answers):
        self.answers = list(answers)

    def task(self, own, **options):
        def fetch(month="07"):
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return resilient_task(**options)(own(fetch))


def down():
    return ConnectionError("down")


def outcome(task, *args):
    seen = []

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def around():
        seen.append(outcome_of(task.submit(*args)))
        return "ran"

    state = around(return_state=True)
    return state, seen[0]


def test_the_state_shows_the_age_of_the_result(own, history, resilient_clock, tmp_path):
    task = Service("good", down()).task(own, fallback=LastGood("2d", folder=tmp_path))
    assert isinstance(outcome(task)[1], Ok)
    resilient_clock.advance("23h")
    state, found = outcome(task)
    assert found.value == "good"
    _, states = history(state).of("fetch")
    words = "degraded: last good result of 1970-01-01 00:00 UTC, 23 h old, stands in after ConnectionError"
    assert (states[-1].name, states[-1].message) == ("Degraded", words)
    event = event_from_state(states[-1])
    assert isinstance(event, FallbackUsed)
    assert (event.fallback, event.since, event.error_type) == ("last good result", 0.0, "ConnectionError")


def test_results_are_kept_in_the_result_storage_of_the_run(own, tmp_path):
    storage = LocalFileSystem(basepath=str(tmp_path / "results"))
    for name in ("one", "two"):
        storage.save(f"last-good-{name}", overwrite=True)
    options = {"persist_result": True, "result_storage": storage, "result_serializer": "json"}
    task = Service({"n": 1}, down()).task(own, fallback=LastGood(), **options)
    outcome(task)
    (path,) = files(tmp_path / "results" / "last_good")
    assert (path.suffix, json.loads(path.read_bytes())) == (".prefect", {"n": 1})
    found = outcome(task)[1]
    assert isinstance(found, Degraded)
    assert found.value == {"n": 1}


def test_frames_are_parquet_there_too(own, tmp_path):
    storage = LocalFileSystem(basepath=str(tmp_path / "results"))
    storage.save("last-good-frames", overwrite=True)
    frame = pd.DataFrame({"n": [1, 2]})
    task = Service(frame, down()).task(own, fallback=LastGood(), persist_result=True, result_storage=storage)
    outcome(task)
    (path,) = files(tmp_path / "results" / "last_good")
    assert path.suffix == ".parquet"
    pd.testing.assert_frame_equal(outcome(task)[1].value, frame)


def test_a_run_without_persistence_keeps_them_in_the_folder(own, tmp_path, own_settings):
    own_settings(last_good=tmp_path / "kept")
    task = Service((1, 2), down()).task(own, fallback=LastGood(), persist_result=False)
    outcome(task)
    assert len(files(tmp_path / "kept")) == 1
    assert outcome(task)[1].value == (1, 2)


class Vault(WritableFileSystem):
    """A storage that reads and writes, and lists nothing."""

    _block_type_slug = "vault-for-tests"
    there: ClassVar[dict] = {}  # on the class: the block is recreated from the server

    @sync_compatible  # as those of Prefect's integrations are
    async def read_path(self, path):
        if path not in self.there:
            raise ValueError(f"NoSuchKey: {path}")
        return self.there[path]

    @sync_compatible
    async def write_path(self, path, content):
        self.there[path] = content
        return path


def test_a_storage_that_lists_nothing_holds_one_result_for_each_key(own, resilient_clock):
    Vault.there.clear()
    vault = Vault()
    vault.save("last-good", overwrite=True)
    task = Service("one", "two", down()).task(
        own, fallback=LastGood("2d"), persist_result=True, result_storage="vault-for-tests/last-good"
    )
    outcome(task)
    resilient_clock.advance(60)
    outcome(task)
    assert outcome(task)[1].value == "two"
    assert len([path for path in Vault.there if path.startswith("last_good/")]) == 1
    missing = outcome(task, "08")[1]
    assert isinstance(missing, Failed)
    assert missing.error.__notes__[-1].startswith("no last good result of fetch(")


@pytest.mark.parametrize("way", ["sync", "async"])
def test_mapped_runs_have_a_result_for_each_argument(way, tmp_path):
    seen = set()

    def fetch(month):
        if month in seen:
            raise ConnectionError("down")
        seen.add(month)
        return f"flights of {month}"

    async def afetch(month):
        return fetch(month)

    task = resilient_task(fallback=LastGood(folder=tmp_path))(fetch if way == "sync" else afetch)

    @flow
    def months():
        futures = task.map(["05", "06", "07"])
        wait(futures)
        return [outcome_of(future) for future in futures]

    months()
    again = months()
    assert [type(found) for found in again] == [Degraded] * 3
    assert [found.value for found in again] == ["flights of 05", "flights of 06", "flights of 07"]


def test_a_cached_result_is_the_good_one_and_no_stand_in_is_cached(own, tmp_path):
    storage = LocalFileSystem(basepath=str(tmp_path / "results"))
    storage.save("last-good-cache", overwrite=True)
    options = {"cache_policy": INPUTS, "persist_result": True, "result_storage": storage}
    service = Service("good", down(), "better")
    task = service.task(own, fallback=LastGood(folder=tmp_path / "kept"), **options)
    assert outcome(task, "07")[1].value == "good"
    assert outcome(task, "07")[1].value == "good"  # from the cache, without a call
    assert len(service.answers) == 2
    refreshed = task.with_options(refresh_cache=True)
    assert isinstance(outcome(refreshed, "07")[1], Degraded)
    assert outcome(refreshed, "07")[1].value == "better"


def test_with_options_removes_and_replaces_it(own, tmp_path):
    task = Service("good", down()).task(own, fallback=LastGood(folder=tmp_path))
    outcome(task)
    assert isinstance(outcome(task.with_options(fallback=None))[1], Failed)
    other = task.with_options(fallback=LastGood(folder=tmp_path / "empty", otherwise=Fallback(value="else")))
    assert outcome(other)[1].value == "else"
    assert isinstance(outcome(task)[1], Degraded)


def test_a_flow_keeps_its_result_unless_a_task_inside_was_degraded(tmp_path):
    service = Service("good", down(), "good", "good")
    fetch = service.task(lambda fn: fn, fallback=Fallback(value="stale"))

    @resilient_flow(fallback=LastGood(folder=tmp_path))
    def report(number, fails=False):  # noqa: FBT002
        if fails:
            raise ConnectionError("down")
        return [number, fetch.submit().result()]

    assert report(1) == [1, "good"]
    assert len(files(tmp_path)) == 1
    report(2, return_state=True)
    assert len(files(tmp_path)) == 1


def test_a_state_is_not_kept_as_a_result(tmp_path):
    from prefect.states import Completed

    @resilient_task(fallback=LastGood(folder=tmp_path))
    def fetch():
        return Completed(data=1)

    outcome(fetch)
    assert files(tmp_path) == []


def test_it_works_in_the_processes_of_a_pool(tmp_path, monkeypatch):
    monkeypatch.setenv("LAST_GOOD_TEST_FOLDER", str(tmp_path / "kept"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, *filter(None, sys.path)]))
    monkeypatch.syspath_prepend(HERE)
    import last_good_tasks

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def months():
        futures = [last_good_tasks.fetch_month.submit(month, str(tmp_path)) for month in ("06", "07")]
        wait(futures)
        return [outcome_of(future) for future in futures]

    good = months()
    (tmp_path / "down").touch()
    again = months()
    assert [found.value for found in again] == [found.value for found in good]
    assert [type(found) for found in (*good, *again)] == [Ok, Ok, Degraded, Degraded]
    assert good[0].value["pid"] != os.getpid()
