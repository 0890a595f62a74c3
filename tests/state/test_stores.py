"""The contract of a `StateStore`, on all three, and of shared stores across processes."""

import time
from types import SimpleNamespace
from uuid import uuid4

import counting
import pytest
from sharing import PATIENT

from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.redis import RedisStore
from resilient_tasks.state.sqlite import SQLiteStore
from resilient_tasks.testing import VirtualClock

ODD = ["*", "?", "[", "]", "[a-z]", "^", "%", "_", " ", "\\", "'", '"', "/", ":", "\n", "é", "ß", "日本", "🛫"]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def each(request, tmp_path):
    """An empty, connected `store`, and `wait(seconds)` on its clock."""
    clock = VirtualClock(start=1_000_000)
    wait = clock.advance
    with use_clock(clock):
        if request.param == "memory":
            store = MemoryStore()
        elif request.param == "sqlite":
            store = SQLiteStore(f"sqlite:///{tmp_path}/folder of its own/states.db", bound=PATIENT)
        else:
            server = request.getfixturevalue("redis_server")
            server.empty()
            store, wait = RedisStore(server.url, bound=PATIENT), time.sleep  # on the server's clock
        store.connect()
        yield SimpleNamespace(store=store, wait=wait)
        store.close()


def put(store, key, value, **options):
    assert store.swap(key, store.get(key), value, **options) == (True, value)


def test_a_new_store_is_empty(each):
    assert each.store.get("a") is None
    assert each.store.keys("") == []


def test_a_value_is_created_only_if_there_is_none(each):
    assert each.store.swap("a", None, b"first") == (True, b"first")
    assert each.store.swap("a", None, b"second") == (False, b"first")
    assert each.store.get("a") == b"first"


def test_a_value_is_replaced_only_if_the_old_one_matches(each):
    put(each.store, "a", b"first")
    assert each.store.swap("a", b"other", b"second") == (False, b"first")
    assert each.store.swap("a", b"first", b"second") == (True, b"second")
    assert each.store.swap("a", b"first", b"third") == (False, b"second")
    assert each.store.get("a") == b"second"


def test_a_swap_that_expects_a_missing_value_fails(each):
    assert each.store.swap("a", b"expected", b"new") == (False, None)
    assert each.store.get("a") is None


def test_a_value_does_not_touch_those_of_other_keys(each):
    put(each.store, "a", b"1")
    put(each.store, "b", b"2")
    put(each.store, "a", b"3")
    assert (each.store.get("a"), each.store.get("b")) == (b"3", b"2")


@pytest.mark.parametrize(
    "value",
    [b"", b"\0", b"\0\xff\xfe", bytes(range(256)), b"0", b"None", "été".encode(), bytes(100_000)],
    ids=["empty", "nul", "no text", "all bytes", "zero", "None", "utf-8", "100 KB"],
)
def test_values_are_any_bytes(each, value):
    assert each.store.swap("a", None, value) == (True, value)
    assert each.store.get("a") == value
    assert each.store.swap("a", b"other", b"new") == (False, value)
    assert each.store.swap("a", value, b"new") == (True, b"new")


def test_an_empty_value_is_not_the_same_as_none(each):
    put(each.store, "a", b"")
    assert each.store.swap("a", None, b"new") == (False, b"")
    assert each.store.swap("b", b"", b"new") == (False, None)


def test_a_value_expires(each):
    put(each.store, "short", b"1", ttl=0.03)
    put(each.store, "long", b"2", ttl=3000)
    put(each.store, "always", b"3")
    each.wait(0.06)
    assert [each.store.get(key) for key in ("short", "long", "always")] == [None, b"2", b"3"]
    assert sorted(each.store.keys("")) == ["always", "long"]
    assert each.store.swap("short", b"1", b"late") == (False, None)
    assert each.store.swap("short", None, b"new") == (True, b"new")
    assert each.store.get("short") == b"new"


def test_a_replaced_value_has_its_own_time_to_live(each):
    put(each.store, "a", b"1", ttl=0.03)
    put(each.store, "b", b"1", ttl=0.03)
    # On a busy machine the value may have expired: then it is created, to the same effect.
    put(each.store, "a", b"2", ttl=3000)
    put(each.store, "b", b"2")
    each.wait(0.06)
    assert (each.store.get("a"), each.store.get("b")) == (b"2", b"2")


def test_a_value_expires_on_time(each):
    if each.wait is time.sleep:
        pytest.skip("this server's clock cannot be put forward")
    put(each.store, "a", b"1", ttl=10)
    each.wait(9.99)
    assert each.store.get("a") == b"1"
    each.wait(0.01)
    assert each.store.get("a") is None


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_keys_are_found_by_prefix_with_any_characters(each, odd):
    theirs = [f"a{odd}1", f"a{odd}2", f"a{odd}"]
    for key in (*theirs, "a", "ab1", "axx1", f"b{odd}1", f"x/a{odd}1", f"A{odd}1"):
        put(each.store, key, key.encode())
    assert sorted(each.store.keys(f"a{odd}")) == sorted(theirs)
    assert all(each.store.get(key) == key.encode() for key in theirs)


def test_all_keys_are_found_once_each_among_many(each):
    expected = sorted(f"breaker/{number}" for number in range(1500))
    for key in expected:
        put(each.store, key, b"1")
    assert sorted(each.store.keys("breaker/")) == expected
    assert each.store.keys("rate/") == []


def test_all_processes_share_the_clock_of_a_store(store_url, share):
    assert abs(share(store_url).now() - time.time()) < 1


def test_a_state_written_by_one_process_is_read_by_another(store_url, share, worker_pool):
    states = share(store_url)
    key = uuid4().hex
    worker_pool.all(counting.use_store_at, store_url, PATIENT)
    assert [worker_pool.one(number, counting.count_up, key, 1) for number in range(8)] == [[n] for n in range(1, 9)]
    assert states.get(key) is not None


def test_of_1600_increments_by_8_processes_none_is_lost(store_url, worker_pool):
    key = uuid4().hex
    worker_pool.all(counting.use_store_at, store_url, PATIENT)
    numbers = [number for each in worker_pool.all(counting.count_up, key, 200) for number in each]
    assert sorted(numbers) == list(range(1, 1601))


def test_a_forked_child_has_its_own_connection(store_url, worker_pool):
    numbers, same = worker_pool.one(0, counting.count_in_a_forked_child, store_url, uuid4().hex)
    assert numbers == [1, 2, 3, 4, 5]
    assert not same


def test_states_in_a_file_outlive_all_connections(tmp_path):
    url = f"sqlite:///{tmp_path}/states.db"
    for before, value in ((None, b"1"), (b"1", b"2")):
        store = SQLiteStore(url)
        store.connect()
        assert store.swap("a", before, value) == (True, value)
        store.close()
