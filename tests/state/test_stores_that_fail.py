"""Calls while a store cannot be reached: each process uses its own memory, and reports it once."""

import json
import os
import sqlite3
import time

import counting
import pytest
import sharing

from resilient_tasks import CircuitBreaker, CircuitOpen, PolicyError, configure, resilient
from resilient_tasks.state import states as shared

#: Seconds that a store may delay a call: the setting's default.
BOUND = 0.05

BREAKER = CircuitBreaker("api", failures=3, open_for=600)


def eventually(true, within=10):
    until = time.monotonic() + within
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def told_of_the_store(events):
    # An earlier test's store may still emit an event.
    name = shared.states().name
    return [event.name for event in events if event.name.startswith("store.") and event.store == name]


def fails_3_times_and_is_then_open():
    @resilient(breaker=BREAKER)
    def down():
        raise ConnectionError("down")

    def error():
        with pytest.raises(Exception) as caught:
            down()
        return caught.type

    return [error() for _ in range(5)] == [ConnectionError] * 3 + [CircuitOpen] * 2


@pytest.fixture(params=["nothing listens", "nothing answers"])
def url_of_nothing(request):
    """The URL of a Redis that does not exist."""
    if request.param == "nothing listens":
        yield f"redis://127.0.0.1:{sharing.free_port()}/0"
    else:
        with sharing.a_deaf_port() as port:
            yield f"redis://127.0.0.1:{port}/0"


def test_a_missing_store_delays_the_first_call_by_the_bound_and_others_not_at_all(url_of_nothing):
    import redis  # noqa: F401  # loaded once per process, whatever the store does

    call = resilient(breaker=CircuitBreaker("api", failures=3, slow=10))(lambda: "done")

    def seconds_of_each():
        for _ in range(40):
            began = time.perf_counter()
            assert call() == "done"
            yield time.perf_counter() - began

    firsts, others = [], []
    for _ in range(5):
        with sharing.sharing():
            configure(store=url_of_nothing)
            first, *following = seconds_of_each()
        firsts.append(first)
        others.append(sum(following))
    # A busy machine may delay any call, but not each time; a store that is tried in vain delays each.
    assert min(firsts) < BOUND + 0.03
    assert min(others) < BOUND


def test_policies_use_the_memory_of_their_process_if_the_store_is_missing(share, url_of_nothing, resilient_events):
    configure(store=url_of_nothing)
    assert fails_3_times_and_is_then_open()
    assert BREAKER.status().state == "open"
    assert CircuitBreaker.names() == ["api"]
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost"])
    time.sleep(0.3)  # several attempts to reconnect have failed by now
    assert told_of_the_store(resilient_events) == ["store.lost"]


@pytest.mark.parametrize(
    ("credentials", "options"),
    [("ada:s3cret@", ""), (":s3cret@", ""), ("ada:s3c%40ret@", ""), ("", "?username=ada&password=s3cret")],
    ids=["user and password", "password", "escaped", "as options"],
)
def test_no_password_is_in_events_about_a_store(share, resilient_events, credentials, options):
    port = sharing.free_port()
    configure(store=f"redis://{credentials}127.0.0.1:{port}/0{options}")
    shared.count("calls")
    assert eventually(lambda: "store.lost" in resilient_events.names)
    (lost,) = resilient_events.named("store.lost")
    assert lost.store.startswith(f"redis://127.0.0.1:{port}/0")
    text = json.dumps(lost.as_dict()) + lost.sentence() + repr(lost)
    assert "ada" not in text
    assert "s3c" not in text


def test_no_password_is_in_events_about_a_server_that_refuses_it(share, resilient_events, redis_server):
    configure(store=redis_server.url.replace("//", "//ada:s3cret@"))
    shared.count("calls")
    assert eventually(lambda: "store.lost" in resilient_events.names)
    (lost,) = resilient_events.named("store.lost")
    assert lost.store == redis_server.url
    assert "Authentication" in lost.sentence() or "AUTH" in lost.sentence() or "password" in lost.sentence()
    assert "ada" not in lost.sentence()
    assert "s3cret" not in lost.sentence()


def test_no_password_is_in_the_error_about_an_unknown_kind_of_store(share):
    with pytest.raises(PolicyError, match="a store is") as refused:
        share("postgres://ada:s3cret@127.0.0.1/0")
    assert "s3cret" not in str(refused.value)


def test_a_file_locked_for_longer_than_the_bound_delays_no_call(share, worker_pool, tmp_path, resilient_events):
    share(f"sqlite:///{tmp_path}/states.db")
    assert [shared.count("calls") for _ in range(3)] == [1, 2, 3]
    worker_pool.one(0, counting.lock, f"{tmp_path}/states.db")
    began = time.monotonic()
    assert [shared.count("calls") for _ in range(100)] == list(range(1, 101))  # counted in memory meanwhile
    assert time.monotonic() - began < 1
    # Memory is used from the first call on, and this must be reported at once, not ten seconds later.
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost"], within=3)
    worker_pool.one(0, counting.unlock)
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost", "store.regained"])
    assert shared.count("calls") == 4


def test_a_file_that_cannot_be_opened_is_retried_until_it_can(share, tmp_path, resilient_events):
    in_the_way = tmp_path / "folder"
    in_the_way.write_text("no folder")
    configure(store=f"sqlite:///{in_the_way}/states.db")
    assert fails_3_times_and_is_then_open()
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost"])
    in_the_way.unlink()
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost", "store.regained"])
    BREAKER.open(600)
    assert BREAKER.status().state == "open"
    assert (in_the_way / "states.db").exists()


def test_a_read_only_file_fails_no_call(share, tmp_path, resilient_events):
    path = tmp_path / "states.db"
    sqlite3.connect(path).close()
    path.touch()
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write every file")
    configure(store=f"sqlite:///{path}")
    assert fails_3_times_and_is_then_open()
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost"])
    path.chmod(0o644)
    assert eventually(lambda: told_of_the_store(resilient_events) == ["store.lost", "store.regained"])
    assert shared.count("calls") == 1
    assert path.stat().st_size > 0


def test_foreign_data_in_a_store_is_overwritten(share, store_url):
    states = share(store_url)
    states.update(f"breaker/{BREAKER.name}", lambda _state, _now: (b"\xff no circuit", None))
    assert fails_3_times_and_is_then_open()
