"""Tasks and flows for tests in other places: other processes import this file or unpickle its functions.

Attempts are counted in a file, so that the count is true in whatever process each attempt is made.
"""

import asyncio
import os
import time
from pathlib import Path

from prefect import flow, task
from prefect.settings import PREFECT_API_URL, temporary_settings

from resilient_tasks import Retry, get_logger, outcome_of, remaining, resilient_flow, resilient_task


def tries(folder, name):
    """Record one attempt, and return the number of attempts so far."""
    path = Path(folder) / name
    with path.open("a") as lines:
        lines.write(f"{os.getpid()} {time.time()}\n")
    return len(path.read_text().splitlines())


@resilient_task(retry=Retry(attempts=3, wait=0.05), deadline=60)
def recovers(folder, rows=1):
    """Fail twice, then succeed."""
    attempt = tries(folder, "recovers")
    get_logger().info("counted", rows=rows)
    if attempt < 3:
        raise ConnectionError("refused")
    return rows


@resilient_task(retry=Retry(attempts=3, wait=0.05), timeout=30)
async def recovers_async(folder):
    """Fail twice in a coroutine, then succeed."""
    await asyncio.sleep(0)
    if tries(folder, "recovers_async") < 3:
        raise ConnectionError("refused")
    return "fresh"


def yesterdays(folder, error):
    """Stand in for `degrades`."""
    return f"yesterday's, after {error}"


@resilient_task(retry=Retry(attempts=2, wait=0.05), fallback=yesterdays)
def degrades(folder):
    """Always fail, so that the fallback stands in."""
    tries(folder, "degrades")
    raise ConnectionError("refused")


@resilient_task
def uses(data):
    """Take a result or its stand-in."""
    return data.upper()


@resilient_task(timeout=0.3)
def too_slow(folder):
    """Take much longer than the limit."""
    tries(folder, "too_slow")
    time.sleep(1.5)
    tries(folder, "too_slow, to its end")


@resilient_task(retry=Retry(attempts=50, wait=60), deadline=50)
def too_late(folder):
    """Fail, with no time left for another attempt."""
    tries(folder, "too_late")
    raise ConnectionError("refused")


@resilient_task(retry=3)
def broken(folder):
    """Fail with a bug, which no retry can fix."""
    tries(folder, "broken")
    return {}["tailnum"]


@resilient_task(retry=3)
def time_left():
    """Return the remaining time of this task: that of its flow's deadline, if known."""
    return remaining()


EVERY = (recovers, recovers_async, degrades, too_slow, too_late, broken)


@resilient_flow(deadline=120)
def deployed(folder):
    """Run the tasks that need no other process, in a worker's process."""
    futures = [each.submit(folder) for each in (recovers, degrades)]
    return [outcome_of(each).unwrap() for each in futures]


def refused(folder):
    """Always fail, so that the wait for the next attempt can be terminated."""
    tries(folder, "refused")
    raise ConnectionError("refused")


async def refused_async(folder):
    """As `refused`, in a coroutine."""
    refused(folder)


WAIT = 600
OURS = {"retry": Retry(attempts=20, wait=WAIT), "deadline": 6000}
PREFECTS = {"retries": 20, "retry_delay_seconds": WAIT}


@flow
def waiting(folder):
    """Have a resilient task wait for its next attempt in a thread."""
    return resilient_task(**OURS)(refused).submit(folder).result()


def called(decorated, folder):
    """Call a task in the thread of its flow."""
    return decorated(folder)


def submitted(decorated, folder):
    """Have a task run in another thread."""
    return decorated.submit(folder).result()


async def awaited(decorated, folder):
    """Await a task on the event loop of its flow."""
    return await decorated(folder)


def wait_to_be_terminated(api, whose, how, folder):
    """Run a flow of the name `whose how`, in which a task fails and then waits for its next attempt."""
    fn = refused_async if "async" in how or how == "awaited" else refused
    decorated = task(**PREFECTS)(fn) if whose == "prefects" else resilient_task(**OURS)(fn)
    around = globals()[how.removeprefix("async ")]
    with temporary_settings({PREFECT_API_URL: api}):
        run = flow(name=f"{whose} {how}", validate_parameters=False)(around)(decorated, folder)
        if asyncio.iscoroutine(run):
            asyncio.run(run)
