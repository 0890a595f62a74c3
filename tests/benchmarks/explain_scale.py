"""How long `explain --check` takes for many tasks, in a fresh process, and how much of it is the import of Prefect.

    python tests/benchmarks/explain_scale.py [--tasks 1000] [--runs 3]

A generated module has that many tasks in ten flows, with policies that differ. Prints the least of the runs.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HEAD = """
import httpx
from resilient_tasks import Bulkhead, Fallback, RateLimit, Retry, Timeout, resilient_flow, resilient_task

def stand_in(month):
    return month

"""
TASK = """
@resilient_task(
    name="task {n}", retry=Retry(attempts={attempts}, wait={wait}), timeout={timeout}, deadline=300, breaker="api-{n}",
    fallback=Fallback(stand_in, timeout=5), idempotent=True,
)
def task_{n}(month):
    return httpx.get(f"https://example.org/{n}/{{month}}", timeout=5).json()
"""


def write(folder: Path, tasks: int) -> None:
    """Write the module."""
    parts = [HEAD]
    parts += [TASK.format(n=n, attempts=2 + n % 5, wait=1 + n % 3, timeout=10 + n % 20) for n in range(tasks)]
    for flow in range(10):
        calls = "\n".join(f"    task_{n}(1)" for n in range(flow, tasks, 10))
        parts.append(f"\n@resilient_flow\ndef flow_{flow}():\n{calls}\n")
    (folder / "many_tasks.py").write_text("".join(parts), encoding="utf-8")


def seconds_of(command: list[str], folder: Path) -> tuple[float, float, str]:
    """Run a command; return its seconds, the CPU seconds of its process, and what it printed last."""
    before, began = os.times(), time.monotonic()
    environment = {**os.environ, "PREFECT_HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    took, after = time.monotonic() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return took, cpu, done.stdout.strip().rpartition("\n")[2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},",
        end=" ",
    )
    print(f"Prefect {version('prefect')}, {chosen.tasks:,} tasks, least of {chosen.runs} runs")
    commands = {
        "import prefect's tasks and flows": [sys.executable, "-c", "import prefect.tasks, prefect.flows"],
        "import the module": [sys.executable, "-c", "import many_tasks"],
        "explain --check": [sys.executable, "-m", "resilient_tasks", "explain", "--check", "many_tasks"],
    }
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), chosen.tasks)
        for name, command in commands.items():
            runs = [seconds_of(command, Path(folder)) for _ in range(chosen.runs)]
            took, cpu = (min(run[part] for run in runs) for part in (0, 1))
            print(f"{name:34} {took:6.2f} s, CPU {cpu:6.2f} s  {runs[0][2]}")


if __name__ == "__main__":
    main()
