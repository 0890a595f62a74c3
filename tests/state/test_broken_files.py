"""A corrupt SQLite file is moved aside and its new name logged; a file that is merely in use never is."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resilient_tasks.state.sqlite import SQLiteStore

FILLED = [f"key/{number}" for number in range(200)]


def store_in(path):
    return SQLiteStore(f"sqlite:///{path}", bound=1)


@pytest.fixture
def path(tmp_path):
    """A file with 200 states, closed."""
    path = tmp_path / "states.db"
    store = store_in(path)
    store.connect()
    for key in FILLED:
        store.swap(key, None, os.urandom(300))
    store.close()
    return path


def aside(path):
    return [found for found in path.parent.glob("states.db.broken-*") if not found.name.endswith(("-wal", "-shm"))]


def no_database(path):
    path.write_text("name,age\nAda,36\n" * 100)


def short(path):
    path.write_bytes(b"no")


def truncated(path):
    os.truncate(path, path.stat().st_size // 2 + 100)


def all_but_its_head_is_noise(path):
    content = bytearray(path.read_bytes())
    content[4096:] = random.Random(1).randbytes(len(content) - 4096)
    path.write_bytes(content)


def its_head_is_noise(path):
    content = bytearray(path.read_bytes())
    content[:4096] = random.Random(1).randbytes(4096)
    path.write_bytes(content)


BREAKS = [no_database, short, truncated, all_but_its_head_is_noise, its_head_is_noise]


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_broken_file_is_moved_aside_with_its_name_in_the_log_and_replaced(path, break_it, caplog):
    break_it(path)
    broken = path.read_bytes()
    store = store_in(path)
    until = time.monotonic() + 20
    while True:
        try:  # damage in the middle shows when it is read, and the next connection mends it
            store.connect()
            assert store.keys("key/") == []
            break
        except sqlite3.DatabaseError:
            assert time.monotonic() < until
    assert store.swap("key/1", None, b"new") == (True, b"new")
    store.close()
    (kept,) = aside(path)
    assert kept.read_bytes() == broken
    assert str(kept) in caplog.text
    assert str(path) in caplog.text


def test_damage_in_the_middle_of_a_file_is_found_by_the_next_connection(path):
    content = bytearray(path.read_bytes())
    for page in range(len(content) // 4096 // 2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 100] = bytes([255]) * 100
    path.write_bytes(content)
    store = store_in(path)
    store.connect()
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        [store.get(key) for key in FILLED]
    store.connect()
    assert len(aside(path)) == 1
    assert store.swap("key/1", None, b"new") == (True, b"new")
    store.close()


def test_threads_and_processes_move_a_broken_file_aside_once_and_share_the_new_one(path):
    no_database(path)
    code = f"""
import sys
from resilient_tasks.state.sqlite import SQLiteStore
sys.stdin.readline()
store = SQLiteStore("sqlite:///{path}", bound=5)
store.connect()
print(store.swap(sys.argv[1], None, b"mine")[0], flush=True)
sys.stdin.readline()
assert store.get("0") == b"mine"
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for number in range(4)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["True\n"] * 4
    for process in processes:
        process.communicate("\n", timeout=30)
    assert [process.returncode for process in processes] == [0] * 4
    assert len(aside(path)) == 1
    store = store_in(path)
    store.connect()
    assert store.keys("") == ["0", "1", "2", "3"]
    store.close()


def test_16_threads_move_a_broken_file_aside_once(path):
    no_database(path)
    stores = [store_in(path) for _ in range(16)]
    threads = [threading.Thread(target=store.connect) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(aside(path)) == 1
    for number, store in enumerate(stores):
        assert store.swap(f"{number}", None, b"mine")[0]
    assert len(stores[0].keys("")) == 16
    for store in stores:
        store.close()


@pytest.mark.parametrize("what", ["locked", "locked in rollback mode", "empty", "newer table", "newer sql"])
def test_a_sound_file_is_never_moved_aside(path, what):
    other = sqlite3.connect(path, isolation_level=None)
    if what == "locked":
        other.execute("BEGIN EXCLUSIVE")  # in WAL mode, readers continue
    elif what == "locked in rollback mode":
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
    elif what == "empty":
        other.close()
        path.write_bytes(b"")
    elif what == "newer table":
        other.execute("ALTER TABLE states ADD COLUMN written REAL")
    else:
        other.execute("PRAGMA writable_schema=ON")
        other.execute("INSERT INTO sqlite_master VALUES ('table', 't', 't', 0, 'CREATE TABLE t (a) FUTURE SYNTAX')")
    if what != "empty" and not what.startswith("locked"):
        other.close()
    store = SQLiteStore(f"sqlite:///{path}", bound=0.01)
    failed = 0
    for _ in range(2):
        try:
            store.connect()
            store.swap("a", None, b"1")
        except (OSError, sqlite3.Error):
            failed += 1
    assert failed == (0 if what == "empty" else 2)
    store.close()
    other.close()
    assert aside(path) == []


def test_a_deleted_or_replaced_file_is_not_written_to(path):
    store = store_in(path)
    store.connect()
    path.unlink()
    with pytest.raises(OSError, match=r"states\.db"):
        store.swap("a", None, b"1")
    store.connect()
    assert store.swap("a", None, b"1") == (True, b"1")
    other = path.with_name("other.db")
    path.rename(other)
    second = store_in(path)
    second.connect()
    with pytest.raises(ConnectionError, match="was replaced by another file"):
        store.get("a")
    second.close()
    store.close()


ALERTING = """
import os, sys, time
from resilient_tasks import Console, resilient
@resilient(notify=Console())
def down():
    raise ValueError("down")
try: down()
except ValueError: print("its own error")
"""


@pytest.mark.parametrize("break_it", [no_database, short, its_head_is_noise])
def test_a_broken_incidents_file_costs_no_message_and_nothing_at_exit(path, break_it):
    path = path.rename(path.with_name("incidents.db"))
    break_it(path)
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", ALERTING],
        env=os.environ | {"RESILIENT_TASKS_HOME": str(path.parent), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    took = time.monotonic() - began
    assert "its own error" in process.stdout
    assert "down" in process.stdout + process.stderr
    assert took < 8  # a deadline of 10 s was waited for
    (kept,) = (found for found in path.parent.glob("incidents.db.broken-*"))
    assert kept.name in process.stderr
    assert "does not answer" not in process.stderr


def test_an_incidents_file_that_cannot_be_opened_costs_no_message_and_a_second_at_exit(tmp_path):
    (tmp_path / "incidents.db").mkdir()
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", ALERTING],
        env=os.environ | {"RESILIENT_TASKS_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "its own error" in process.stdout
    assert "down" in process.stdout + process.stderr
    assert time.monotonic() - began < 8  # a deadline of 10 s was waited for
    assert (tmp_path / "incidents.db").is_dir()
