"""A monthly pipeline that is killed at random moments; run as a program, so that its children are forked warm.

Each child takes the batches that are not done: it splits one, quarantines the bad rows, writes the good ones, and so
on; then it replays each batch. It is started again after each kill, as a scheduler would.
"""

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pyarrow import set_cpu_count, set_io_thread_count

from resilient_tasks.quarantine.quarantine import Quarantine
from resilient_tasks.validation.split import split

ROWS = 30
SCHEMA = pa.DataFrameSchema({"id": pa.Column(int), "n": pa.Column(int, pa.Check.gt(0))})


def month(number):
    """Return 30 rows with distinct ids, every third one bad."""
    ids = range(number * ROWS, (number + 1) * ROWS)
    return pd.DataFrame({"id": ids, "n": [-1 if at % 3 == 0 else 1 for at in ids]})


def work(folder, batches):
    store, done = Quarantine(folder / "q"), folder / "good"
    for number in range(batches):
        target = done / f"{number}.csv"
        if not target.exists():
            parts = split(month(number), SCHEMA)
            store.write(parts, operation="fetch", batch=str(number), schema=SCHEMA)
            parts.good.to_csv(done / ".tmp", index=False)
            (done / ".tmp").rename(target)
        if number % 2 and store.list("fetch"):  # every other month is replayed
            store.replay(str(number), SCHEMA, fix=lambda table: table.assign(n=table["n"].abs()))


def main(folder, kills):
    (folder / "good").mkdir()
    chance, killed, started = random.Random(7), 0, 0
    store = Quarantine(folder / "q")
    while killed < kills:
        start, started = started, started + 1
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            work(folder, 4 + start)  # some work is always left
            os._exit(0)
        time.sleep(chance.uniform(0, 0.06))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        for batch in store.list():  # everything can be read at any moment
            if batch.when.timestamp() > time.time() - 0.5:
                store.read(batch)
    batches = 4 + started
    child = os.fork()
    if child == 0:
        work(folder, batches)
        os._exit(0)
    os.waitpid(child, 0)
    sys.stdout.write(f"{killed} {batches}")


if __name__ == "__main__":
    set_cpu_count(1)
    set_io_thread_count(1)
    split(month(0), SCHEMA)
    main(Path(sys.argv[1]), int(sys.argv[2]))
