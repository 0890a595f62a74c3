"""The cost of imports, in fresh interpreters that take turns, from bytecode like an installed package's."""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from bench.peers import LIBRARIES
from bench.table import ITSELF, Goal, Row
from bench.timing import OURS

ROUNDS = 5
PREFECT, ITS_TASK = "import prefect", "from prefect import flow, task"
FUNCTIONS = "import resilient_tasks; from resilient_tasks import resilient"
TASKS = "from resilient_tasks import resilient_task"
MODULES = {"grit-toolkit": "grit", "crashbytes-resilience": "crashbytes_resilience", "interlock-cb": "interlock"}
PARTS = {"hyx": "hyx.retry, hyx.circuitbreaker, hyx.fallback, hyx.timeout"}
TIMED = """
import time
times = [time.process_time_ns()]
{}
times.append(time.process_time_ns())
{}
times.append(time.process_time_ns())
import json, sys
print(json.dumps([(times[1] - times[0]) / 1e6, (times[2] - times[1]) / 1e6, "numpy" in sys.modules]))
"""


def imports() -> Iterator[Row]:
    # Ours after Prefect, in one process: two processes differ by more than what is to be seen.
    statements = {OURS: (FUNCTIONS, ""), TASKS: (PREFECT, TASKS), ITS_TASK: (PREFECT, ITS_TASK)}
    statements |= {name: (f"import {PARTS.get(name) or MODULES.get(name, name)}", "") for name in LIBRARIES}
    found: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in statements}
    with tempfile.TemporaryDirectory(prefix="bench-") as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        # Where this is set, each of the interpreters would compile all that it imports.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(ROUNDS + 1):
            for name in random.sample(list(statements), len(statements)):
                timed = _timed(statements[name], environment)
                if turn:  # the first writes the bytecode
                    found[name].append(timed)
    cpu = {name: min(each[0] for each in several) for name, several in found.items()}
    libraries = {name: cpu[name] for name in (OURS, *LIBRARIES)}
    yield Row("import, resilient", "", libraries, [Goal(ITSELF, 80.0)], unit="ms", remark="CPU time of the statement")
    with_numpy = {OURS: float(any(each[2] for each in found[OURS]))}
    yield Row("import, resilient", "loads numpy", with_numpy, [Goal(ITSELF, 0)], unit="")
    alone = min(cpu[TASKS], cpu[ITS_TASK])
    prefect = {OURS: alone * _more(found[TASKS]), PREFECT: alone, ITS_TASK: alone * _more(found[ITS_TASK])}
    yield Row(
        "import, resilient_task",
        "",
        prefect,
        [Goal(PREFECT, 1.05)],
        unit="ms",
        also_ran=[PREFECT, ITS_TASK],
        remark="`import prefect` first, and the median of what comes to it in the same process",
    )


def _more(several: list[tuple[float, float, bool]]) -> float:
    """Return what the second statement makes of the time of the first one, as a factor."""
    return statistics.median((first + second) / first for first, second, _ in several)


def _timed(statements: tuple[str, str], environment: dict[str, str]) -> tuple[float, float, bool]:
    command = [sys.executable, "-c", TIMED.format(*statements)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    first, second, numpy = json.loads(done.stdout.splitlines()[-1])
    return first, second, numpy
