"""Functions on a store, besides calls, for processes of the worker pool."""

from __future__ import annotations

import json
import os
import sqlite3

import sharing

from resilient_tasks import configure
from resilient_tasks.state import states as shared

_held = []


def use_store_at(url, bound=0.05):
    """Share states at `url` from now on, with empty caches.

    If the store does not answer within `bound` seconds, this process's memory does.
    """
    configure(store="memory:")
    shared.states()
    configure(store=url, store_timeout=bound)
    sharing.until_it_answers()


def use_memory():
    """Use the memory of this process, as the server is about to end."""
    use_store_at("memory:")


def count_up(key, times):
    """Increment a counter, and return the number after each time."""
    return [shared.count(key) for _ in range(times)]


def count_in_a_forked_child(url, key):
    """Count here, in a forked child and here again; return the numbers, and whether both used the same store object."""
    use_store_at(url, sharing.PATIENT)
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


def lock(path):
    """Lock an SQLite file against writers."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    _held.append(connection)


def unlock():
    """Unlock it."""
    _held.pop().close()
