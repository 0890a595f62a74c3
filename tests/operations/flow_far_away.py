"""A flow whose server is away for a while. Each try of a task leaves a line in a file: that count is the true one."""

import sys
import time
from pathlib import Path

from resilient_tasks import Retry, outcome_of, resilient_flow, resilient_task


def tries(folder, name):
    """Note one try, and return how many there were with this one."""
    path = Path(folder) / name
    with path.open("a") as lines:
        lines.write(f"{time.time()}\n")
    return len(path.read_text().splitlines())


@resilient_task(retry=Retry(attempts=3, wait=0.2), task_run_name="{name}")
def steady(folder, name, seconds):
    """Work for a while."""
    tries(folder, name)
    time.sleep(seconds)
    return name


@resilient_task(retry=Retry(attempts=3, wait=0.2), task_run_name="{name}")
def shaky(folder, name, seconds):
    """Fail on the first try."""
    if tries(folder, name) < 2:
        raise ConnectionError("refused")
    time.sleep(seconds)
    return name


def stand_in(folder, name, seconds):
    """Stand in for what fails."""
    return f"instead of {name}"


@resilient_task(retry=Retry(attempts=2, wait=0.2), fallback=stand_in, task_run_name="{name}")
def hopeless(folder, name, seconds):
    """Fail on every try."""
    tries(folder, name)
    time.sleep(seconds)
    raise ConnectionError("refused")


@resilient_task
def begins(folder):
    """Wait until all that is to begin has begun."""
    tries(folder, "begins")
    until = time.monotonic() + 300
    while not Path(folder).with_name("go").exists() and time.monotonic() < until:
        time.sleep(0.1)


@resilient_flow
def inner(folder, number, seconds):
    """Run inside of the other flow."""
    return steady(folder, f"inner-{number}", seconds)


@resilient_flow
def far_away(folder: str, rounds: int = 5, seconds: float = 1.5):
    """Call tasks directly, submitted and in a flow of their own, for `rounds` rounds of about three times `seconds`."""
    begins(folder)
    results = []
    for number in range(rounds):
        futures = [task.submit(folder, f"{task.name}-{number}", seconds) for task in (steady, shaky, hopeless)]
        results += [outcome_of(future).value for future in futures]
        results.append(inner(folder, number, seconds))
        results.append(steady(folder, f"called-{number}", seconds))
    Path(folder, "results").write_text("\n".join(results))
    return len(results)


if __name__ == "__main__":
    far_away(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
