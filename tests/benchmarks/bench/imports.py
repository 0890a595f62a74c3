"""What an import costs, each in fresh interpreters that take turns."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator

from bench.peers import LIBRARIES
from bench.table import ITSELF, Goal, Row
from bench.timing import OURS

ROUNDS = 3
PREFECT, ITS_TASK = "import prefect", "from prefect import flow, task"
FUNCTIONS = "import resilient_tasks; from resilient_tasks import resilient"
TASKS = "from resilient_tasks import resilient_task"
MODULES = {"grit-toolkit": "grit", "crashbytes-resilience": "crashbytes_resilience", "interlock-cb": "interlock"}
PARTS = {"hyx": "hyx.retry, hyx.circuitbreaker, hyx.fallback, hyx.timeout"}
TIMED = """
import time
cpu, wall = time.process_time_ns(), time.perf_counter_ns()
{}
cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
import json, sys
print(json.dumps([cpu / 1e6, wall / 1e6, "numpy" in sys.modules]))
"""


def imports() -> Iterator[Row]:
    statements = {OURS: FUNCTIONS, TASKS: TASKS, PREFECT: PREFECT, ITS_TASK: ITS_TASK}
    statements |= {name: f"import {PARTS.get(name) or MODULES.get(name, name)}" for name in LIBRARIES}
    found: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in statements}
    for _ in range(ROUNDS):  # the first writes the bytecode
        for name in random.sample(list(statements), len(statements)):
            found[name].append(_timed(statements[name]))
    cpu = {name: min(each[0] for each in several) for name, several in found.items()}
    libraries = {name: cpu[name] for name in (OURS, *LIBRARIES)}
    yield Row("import, resilient", "", libraries, [Goal(ITSELF, 80.0)], unit="ms", remark="CPU time of the statement")
    with_numpy = {OURS: float(any(each[2] for each in found[OURS]))}
    yield Row("import, resilient", "loads numpy", with_numpy, [Goal(ITSELF, 0)], unit="")
    prefect = {OURS: cpu[TASKS], PREFECT: cpu[PREFECT], ITS_TASK: cpu[ITS_TASK]}
    yield Row("import, resilient_task", "", prefect, [Goal(PREFECT, 1.05)], unit="ms", also_ran=[PREFECT, ITS_TASK])


def _timed(statement: str) -> tuple[float, float, bool]:
    done = subprocess.run([sys.executable, "-c", TIMED.format(statement)], check=True, capture_output=True, text=True)
    cpu, wall, numpy = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall, numpy
