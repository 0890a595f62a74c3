"""The ML flow on threads, Dask and Ray, with state in memory, SQLite and Redis: twelve months, three airports.

    python tests/benchmarks/everywhere_flights.py [--seed N] [--out out/everywhere] [--page docs/flight-times.md]

Runs `examples/flight_times/run.py` in each place, one after the other, and compares what the registry holds of each
month: verdict, errors, and rows. Ends with 1 where a run's accounts differ, or two places came to different results.
What is not installed (Ray, a Redis server) is skipped by name.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from setting import machine, table, write_into

EXAMPLE = Path(__file__).parents[2] / "examples" / "flight_times"
sys.path.insert(0, str(EXAMPLE))
PLACES = [("threads", "memory"), ("dask", "sqlite"), ("dask", "redis"), ("ray", "sqlite")]
MODULES = {"dask": "prefect_dask", "ray": "prefect_ray"}
COMPARED = (
    *("rmse_challenger", "rmse_champion", "rmse_frozen", "ratio_low", "ratio_high"),
    *("rows_read", "rows_used", "rows_missing", "rows_quarantined", "rows_withheld", "rows_absent"),
)

Month = tuple[str, str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Place:
    """The result of a run in one place: whether its counts agree, its months, and the number of processes."""

    runner: str
    store: str
    agreed: bool
    months: dict[str, Month]
    processes: int
    retries: int
    seconds: float
    circuits: int | None


def main() -> int:
    """Run the flow in each place, print a table, and return 1 where anything differs."""
    given = _arguments()
    found: list[Place] = []
    for runner, store in PLACES:
        if why := _missing(runner, store):
            print(f"{runner}, {store}: skipped, {why}", flush=True)
            continue
        print(f"{runner}, {store} ...", flush=True)
        found.append(_ran(runner, store, given))
        print(f"{runner}, {store}: {found[-1].seconds:.0f} s", flush=True)
    text = f"{_table(found, markdown=given.page is not None)}\n\n{_versions(found)}"
    print(text)
    if given.page is not None:
        write_into(given.page, "everywhere", f"\n{text}\n")
    return 0 if all(place.agreed and place.months == found[0].months for place in found) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/everywhere"))
    parser.add_argument("--page", type=Path, help="a page to write the table into")
    return parser.parse_args()


def _missing(runner: str, store: str) -> str:
    module = MODULES.get(runner)
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    if store == "redis" and shutil.which("redis-server") is None:
        return "no redis-server is installed"
    return ""


def _ran(runner: str, store: str, given: argparse.Namespace) -> Place:
    out = (given.out / f"{runner}-{store}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-u", str(EXAMPLE / "run.py"), "--seed", str(given.seed), "--out", str(out)]
    command += ["--runner", runner, "--origins", "EWR", "JFK", "LGA", "--store"]
    began = time.monotonic()
    with _stored(store, out) as url, (out / "output.txt").open("w") as output:
        ended = subprocess.run([*command, url], stdout=output, stderr=subprocess.STDOUT, check=False)  # our own script
        seconds = time.monotonic() - began
        circuits = None if store == "memory" else _circuits(url)
    if ended.returncode:
        print((out / "output.txt").read_text(), flush=True)
    months, retries = _months(out)
    processes = len(list((out / "events").glob("*.jsonl")))
    return Place(runner, store, ended.returncode == 0, months, processes, retries, seconds, circuits)


@contextmanager
def _stored(store: str, out: Path) -> Iterator[str]:
    """Give the URL of a store; a Redis server is started for it."""
    if store != "redis":
        yield "memory:" if store == "memory" else f"sqlite:///{out / 'circuits.db'}"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(out)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # ours
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(30)


def _circuits(url: str) -> int:
    """Return how many circuits the store holds after a run: one, if all processes shared it."""
    look = "from resilient_tasks import CircuitBreaker, configure; import sys; configure(store=sys.argv[1]);"
    look += "print(len(CircuitBreaker.names()))"
    seen = subprocess.run([sys.executable, "-c", look, url], capture_output=True, text=True, check=True)
    return int(seen.stdout)


def _months(out: Path) -> tuple[dict[str, Month], int]:
    """Return what the registry holds of each month, and the attempts after the first in all of them."""
    from registry import NAME, Registry

    client = Registry(out / "registry").client()
    experiment = client.get_experiment_by_name(NAME)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    months = {
        run.data.tags["month"]: (
            run.data.tags["verdict"],
            run.data.tags["degraded"],
            tuple(run.data.metrics.get(name) for name in COMPARED),
        )
        for run in runs
    }
    return months, int(sum(run.data.metrics["retries"] for run in runs))


def _table(found: list[Place], *, markdown: bool) -> str:
    rows = []
    for place in found:
        used = sum(int(month[2][COMPARED.index("rows_used")] or 0) for month in place.months.values())
        promoted = [name[-2:] for name, month in sorted(place.months.items()) if month[0] == "promoted"]
        rows.append((
            place.runner,
            place.store,
            str(place.processes),
            "each its own" if place.circuits is None and place.processes > 2 else str(place.circuits or 1),
            str(place.retries),
            "yes" if place.agreed else "NO",
            f"{used:,}",
            ", ".join(promoted),
            "yes" if place.months == found[0].months else "NO",
            f"{place.seconds:.0f} s",
        ))  # fmt: skip
    heads = (
        *("tasks on", "state in", "processes", "circuits", "retries", "accounts agree", "rows used", "promoted"),
        *("same result", "took"),
    )
    return table(heads, rows, markdown=markdown)


def _versions(found: list[Place]) -> str:
    used = {"dask": ("prefect-dask", "distributed"), "ray": ("prefect-ray", "ray")}
    names = [name for runner in dict.fromkeys(place.runner for place in found) for name in used.get(runner, ())]
    if any(place.store == "redis" for place in found):
        names.append("redis")
    others = ", ".join(f"{name} {version(name)}" for name in names)
    server = ""
    if "redis" in names:
        output = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
        server = f", Redis {match[1]}" if (match := re.search(r"v=(\S+)", output)) else ""
    return f"{machine()}, {others}{server}."


if __name__ == "__main__":
    sys.exit(main())
