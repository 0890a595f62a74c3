"""Shared stores: a real Redis on loopback, and SQLite in a temporary file."""

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)  # processes that a test starts import their functions from here
import sharing  # noqa: E402  # needs that path
from worker_pool import WorkerPool  # noqa: E402  # as above


@pytest.fixture(scope="session")
def redis_server():
    """A `RedisServer` for all tests that do not stop it."""
    yield from sharing.a_redis_server()


@pytest.fixture
def own_redis_server():
    """A `RedisServer` that the test may stop and kill."""
    yield from sharing.a_redis_server()


@pytest.fixture(params=["sqlite", "redis"])
def store_url(request, tmp_path):
    """The URL of an empty shared store, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/states.db"
    server = request.getfixturevalue("redis_server")
    server.empty()
    return server.url


@pytest.fixture
def share():
    """`share(url, bound)` makes this process, and those that it starts, keep their states there until the test is over.

    It returns the states, once their store answers. `bound` is the store's timeout in seconds.
    """
    with sharing.sharing() as share:
        yield share


@pytest.fixture(scope="session")
def worker_pool():
    """A `WorkerPool` of 8 processes, with a barrier for 20 threads of each."""
    worker_pool = WorkerPool(8, meeting=8 * 20)
    yield worker_pool
    worker_pool.end()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def any_store(request, tmp_path):
    """An empty store of each kind: a `MemoryStore`, or a URL."""
    if request.param == "memory":
        from resilient_tasks.core.store import MemoryStore

        return MemoryStore()
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/states.db"
    return request.getfixturevalue("redis_server").url
