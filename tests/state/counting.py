"""What processes of the worker pool do with a store, besides making calls."""

from __future__ import annotations

import json
import os
import sqlite3

import sharing

from resilient_tasks import configure
from resilient_tasks.state import states as shared

_held = []


def go_by(url, bound=0.05):
    """Share states at `url` from now on, knowing nothing of what was there before.

    A question that is not answered within `bound` seconds is answered by this process alone.
    """
    configure(store="memory:")
    shared.states()
    configure(store=url, store_timeout=bound)
    sharing.until_it_answers()


def go_alone():
    """Go by the memory of this process: the server is going to end."""
    go_by("memory:")


def count_up(key, times):
    """Add one to a number so many times, and return what it was each time."""
    return [shared.count(key) for _ in range(times)]


def count_in_a_forked_child(url, key):
    """Count in this process, in a forked child and here again; return the numbers, and whether both had one store."""
    go_by(url, sharing.PATIENT)
    ours = shared.states()._store
    numbers = count_up(key, 1)
    answer, child = os.pipe()
    if not (pid := os.fork()):
        try:
            sharing.until_it_answers()
            os.write(child, json.dumps([count_up(key, 3), shared.states()._store is ours]).encode())
        finally:
            os._exit(0)
    in_child, same = json.loads(os.read(answer, 1000))
    os.waitpid(pid, 0)
    return [*numbers, *in_child, *count_up(key, 1)], same


def hold(path):
    """Keep everybody from writing to an SQLite file."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    _held.append(connection)


def let_go():
    """Let others write again."""
    _held.pop().close()
