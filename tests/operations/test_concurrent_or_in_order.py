"""The section "Concurrent or in order" of the page on operations: one flow, and the same result on each task runner."""

import importlib.util
import sys
from pathlib import Path

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

sys.path.insert(0, str(Path(__file__).parents[1]))
import warm_processes  # needs that path

from resilient_tasks import configure
from resilient_tasks.core import settings
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import states, use_store

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)  # the processes of a pool look for the tasks where this one does
import one_flow  # noqa: E402  # needs that path

EXPECTED = {
    "fetched": [([1, -1], 2), ([2, -2], 2), ([3, -3], 2), ([4, -4], 2)],
    "rows": [[1], [2], [3], [4]],
    "summaries": [
        "summary of 1",
        "summary before 2, for ConnectionError",
        "summary of 3",
        "summary before 4, for ConnectionError",
    ],
    "weather": ["ConnectionError", "ConnectionError", "CircuitOpen", "CircuitOpen", "CircuitOpen", "CircuitOpen"],
    "tried": {**{f"fetch {month}": 2 for month in (1, 2, 3, 4)}, "summary 2": 2, "summary 4": 2, "weather": 2},
    "quarantined": 4,
}


def dask():
    from prefect_dask import DaskTaskRunner

    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


def ray():
    from prefect_ray import RayTaskRunner

    there = {"env_vars": {"PYTHONPATH": f"{HERE}:{Path(HERE).parents[1]}"}}
    return RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False, "runtime_env": there})


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture
def folder(tmp_path, monkeypatch, resilient_prefect):
    """A folder with a store of its own, which processes that are started from now on share."""
    warm_processes.spawn_instead(monkeypatch)
    monkeypatch.setattr(settings, "current", settings.Settings())
    given = {
        "store": f"sqlite:///{tmp_path}/states.db",
        "store_staleness": 0,
        "store_timeout": 30,
        "quarantine": str(tmp_path / "quarantine"),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"RESILIENT_TASKS_{name.upper()}", str(value))
    with use_store(MemoryStore()):
        configure(**given)
        yield str(tmp_path)
        states().close()


@pytest.mark.parametrize(
    ("runner", "run"),
    [
        pytest.param(ThreadPoolTaskRunner, one_flow.directly, id="called directly"),
        pytest.param(ThreadPoolTaskRunner, one_flow.submitted, id="threads"),
        pytest.param(lambda: ThreadPoolTaskRunner(max_workers=1), one_flow.submitted, id="one thread, in order"),
        pytest.param(lambda: ProcessPoolTaskRunner(max_workers=2), one_flow.submitted, id="a process pool"),
        pytest.param(dask, one_flow.submitted, id="Dask", marks=needs("prefect_dask")),
        pytest.param(ray, one_flow.submitted, id="Ray", marks=needs("prefect_ray")),
    ],
)
def test_the_result_and_the_account_of_failures_are_the_same(folder, runner, run):
    assert one_flow.months.with_options(task_runner=runner())(folder, run) == EXPECTED
