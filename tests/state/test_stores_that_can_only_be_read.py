"""A store that answers but cannot be written is unavailable: policies use memory, and it is reported once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sharing

from resilient_tasks import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Pipeline,
    RateLimit,
    RateLimited,
    Retry,
    RetryBudget,
    configure,
    resilient,
)

BREAKER = CircuitBreaker("api", failures=3, open_for=600)


def a_read_only_replica(server):
    server.send("REPLICAOF 127.0.0.1 1")
    return lambda: server.send("REPLICAOF NO ONE")


def full(server):
    server.send("CONFIG SET maxmemory-policy noeviction")
    server.send("CONFIG SET maxmemory 1")
    return lambda: server.send("CONFIG SET maxmemory 0")


@pytest.fixture(params=[a_read_only_replica, full])
def break_it(request):
    return request.param


def calls_that_reach_a_sick_service(number=40, pause=0.05):
    """Make calls for longer than many attempts to reconnect take; return how many reached the service."""
    reached = []

    @resilient(breaker=BREAKER)
    def down():
        reached.append(1)
        raise ConnectionError("down")

    for _ in range(number):
        with pytest.raises((ConnectionError, CircuitOpen)):
            down()
        time.sleep(pause)
    return len(reached)


def told(events):
    return [event.name for event in events if event.name.startswith("store.")]


def eventually(true, within=10):
    until = time.monotonic() + within
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("when", ["from the start", "later"])
def test_3_of_40_calls_reach_a_failing_service_and_the_loss_is_reported_once(
    share, own_redis_server, break_it, when, resilient_events
):
    if when == "later":
        share(own_redis_server.url)
        assert resilient(breaker=BREAKER)(lambda: "done")() == "done"
        mend = break_it(own_redis_server)
    else:
        mend = break_it(own_redis_server)
        configure(store=own_redis_server.url)
    assert calls_that_reach_a_sick_service() == 3
    assert told(resilient_events) == ["store.lost"]
    mend()
    eventually(lambda: told(resilient_events) == ["store.lost", "store.regained"])
    BREAKER.open(600)
    assert BREAKER.status().state == "open"
    assert sharing.until_it_answers().get("breaker/api") is not None


def test_every_policy_uses_the_memory_of_its_process_meanwhile(share, own_redis_server, break_it, resilient_events):
    share(own_redis_server.url)
    break_it(own_redis_server)
    limited = Pipeline(RateLimit("api", 5, per=600, wait=False))
    answers = [limited.outcome(int) for _ in range(8)]
    assert [type(getattr(answer, "error", None)) for answer in answers].count(RateLimited) == 3

    bulkhead = Pipeline(Bulkhead("api", 1))
    assert isinstance(bulkhead.call(lambda: bulkhead.outcome(int)).error, BulkheadFull)
    assert bulkhead.call(int) == 0

    attempts = []

    @resilient(retry=Retry(attempts=10, wait=0, budget=RetryBudget("api", share=0, floor=2, per=600)))
    def down():
        attempts.append(1)
        raise ConnectionError("down")

    for _ in range(3):
        with pytest.raises(ConnectionError):
            down()
    assert len(attempts) == 3 + 2
    assert told(resilient_events) == ["store.lost"]


ON_A_FULL_DISK = """
import json, resource, sys, time
from resilient_tasks import configure, resilient, CircuitBreaker, CircuitOpen
from resilient_tasks.core.events import bus
from resilient_tasks.state.states import states
told, reached = [], []
bus.subscribe(lambda event: told.append(event.name) if event.name.startswith("store.") else None)
@resilient(breaker=CircuitBreaker("api", failures=3, open_for=600))
def down():
    reached.append(1)
    raise ConnectionError("down")
configure(store=sys.argv[1])
assert states().get("k") is None
size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(40):
    try: down()
    except (ConnectionError, CircuitOpen): pass
    time.sleep(0.05)
print(json.dumps([len(reached), told]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_file_on_a_full_disk_is_unavailable(tmp_path):
    """The kernel refuses to let files grow beyond a limit, as on a full disk."""
    process = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, f"sqlite:///{tmp_path}/states.db", "1024"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert json.loads(process.stdout) == [3, ["store.lost"]]
