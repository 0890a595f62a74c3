"""The flow's task runners: threads of its own process, or the processes of a cluster on this machine."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers import CannotStartError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

RUNNERS = ("threads", "dask", "ray")
#: A file in the folder of `serve.py`, so that `run.py` does not empty it.
KEPT = "kept-by-serve"


def check_installed(name: str) -> None:
    """Check that the package of a task runner is installed.

    Raises:
        CannotStartError: It is not; the message explains how to install it.
    """
    if name != "threads" and find_spec(f"prefect_{name}") is None:
        raise CannotStartError(f"--runner {name} needs a package: pip install prefect-{name}")


def task_runner(name: str) -> TaskRunner[Any]:
    """Return a task runner: eight threads, two processes of Dask with four threads each, or two of Ray."""
    if name == "dask":
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415  # only where it is asked for

        cluster = {"n_workers": 2, "threads_per_worker": 4, "processes": True, "dashboard_address": None}
        return DaskTaskRunner(cluster_kwargs=cluster)
    if name == "ray":
        here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
        options = {"num_cpus": 2, "include_dashboard": False, "runtime_env": here}
        on_ray: TaskRunner[Any] = import_module("prefect_ray").RayTaskRunner(init_kwargs=options)
        return on_ray
    from prefect.task_runners import ThreadPoolTaskRunner  # noqa: PLC0415  # Prefect reads its settings on import

    return ThreadPoolTaskRunner(max_workers=8)


def places(out: Path) -> dict[str, str]:
    """Return the environment variables with the folders that each task process writes to."""
    return {
        "FLIGHT_TIMES_OUT": str(out),
        "RESILIENT_TASKS_QUARANTINE": str(out / "quarantine"),
        "RESILIENT_TASKS_LAST_GOOD": str(out / "last_good"),
        "RESILIENT_TASKS_INCIDENTS": f"sqlite:///{out / 'incidents.db'}",
        "RESILIENT_TASKS_EVENTS": str(out / "events"),
    }
