"""Stores that processes share: a real Redis on loopback, and SQLite in a file of the test's own."""

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)  # the processes that a test starts look for what they are to do where this one does
import sharing  # noqa: E402  # needs that path
from worker_pool import WorkerPool  # noqa: E402  # as above


@pytest.fixture(scope="session")
def redis_server():
    """A `RedisServer` for all tests that do it no harm."""
    yield from sharing.a_redis_server()


@pytest.fixture
def own_redis_server():
    """A `RedisServer` of the test's own, to be stopped and killed."""
    yield from sharing.a_redis_server()


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request, tmp_path):
    """The URL of an empty store that processes share, once for each sort."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/states.db"
    server = request.getfixturevalue("redis_server")
    server.empty()
    return server.url


@pytest.fixture
def share():
    """`share(url)` has this process, and those that it starts, keep their states there until the test is over.

    `share(url, bound)` has a question wait for so many seconds at the most. It returns the states, once their store
    answers.
    """
    with sharing.sharing() as share:
        yield share


@pytest.fixture(scope="session")
def worker_pool():
    """A `WorkerPool` of 8 processes; 20 threads of each meet at its barrier."""
    worker_pool = WorkerPool(8, meeting=8 * 20)
    yield worker_pool
    worker_pool.end()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def any_store(request, tmp_path):
    """An empty store of each sort: the memory itself, or the URL of one to connect to."""
    if request.param == "memory":
        from resilient_tasks.core.store import MemoryStore

        return MemoryStore()
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/states.db"
    return request.getfixturevalue("redis_server").url
