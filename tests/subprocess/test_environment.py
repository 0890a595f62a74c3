"""The environment of a function is that of its caller at the time of the call, and sent only when it has changed."""

import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from resilient_tasks import configure
from resilient_tasks.core import settings
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.subprocess import environment
from resilient_tasks.subprocess import pool as pools
from resilient_tasks.subprocess.channel import Channel, Message


@pytest.fixture
def sent(monkeypatch):
    """The kinds of the messages sent to children."""
    kinds = []
    real = Channel.send
    monkeypatch.setattr(
        Channel, "send", lambda self, kind, *rest, **named: (kinds.append(kind), real(self, kind, *rest, **named))[1]
    )
    return kinds


@pytest.fixture(autouse=True)
def _own_pool(monkeypatch):
    own = pools.Pool()
    monkeypatch.setattr(pools, "pool", own)
    yield
    own.close()


def found():
    return {
        "shop": os.environ.get("SHOP"),
        "till": os.environ.get("TILL"),
        "folder": str(Path.cwd()),
        "path": sys.path[0],
        "level": logging.getLogger("shop.till").level,
        "disabled": logging.root.manager.disable,
        "enabled": settings.current.enabled,
        "secrets": settings.current.secrets,
        "pid": os.getpid(),
    }


def test_nothing_but_the_call_is_sent_if_nothing_has_changed(in_process, sent):
    call = in_process(found)
    call()
    del sent[:]
    assert call()["pid"] != os.getpid()
    assert sent == [Message.CALL]


def test_a_variable_that_is_set_changed_and_deleted_arrives(in_process, sent, monkeypatch):
    call = in_process(found)
    assert call()["shop"] is None
    del sent[:]
    monkeypatch.setenv("SHOP", "Ann's")
    assert call()["shop"] == "Ann's"
    monkeypatch.setenv("SHOP", "Bob's")
    monkeypatch.setenv("TILL", "1")
    assert (call()["shop"], call()["till"]) == ("Bob's", "1")
    monkeypatch.delenv("SHOP")
    assert (call()["shop"], call()["till"]) == (None, "1")
    assert sent.count(Message.ENVIRONMENT) == 3


def test_variables_that_are_not_utf8_arrive(in_process, monkeypatch):
    name, value = b"SHOP_\xff", b"\xfe="
    monkeypatch.setitem(os.environb, name, value)
    assert in_process(lambda: os.environb.get(name))() == value
    del os.environb[name]
    assert in_process(lambda: os.environb.get(name))() is None
    monkeypatch.setitem(os.environb, name, value)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda patch, folder: patch.setenv("SHOP", "Ann's"), "shop"),
        (lambda patch, folder: patch.chdir(folder), "folder"),
        (lambda patch, folder: patch.syspath_prepend("/shop"), "path"),
        (lambda patch, folder: patch.setattr(logging.root.manager, "disable", logging.INFO), "disabled"),
        (lambda patch, folder: logging.getLogger("shop.till").setLevel("ERROR"), "level"),
        (lambda patch, folder: configure(secrets=["a-secret-value"]), "secrets"),
        (lambda patch, folder: configure(enabled=True, store_timeout=1), "enabled"),
    ],
    ids=["variable", "folder", "path", "disabled logging", "level", "secrets", "settings"],
)
def test_a_change_and_its_undoing_reach_the_child_and_its_replacement(  # noqa: PLR0917  # fixtures
    change, name, in_process, monkeypatch, tmp_path, gone
):
    monkeypatch.setattr(settings, "current", settings.current)
    monkeypatch.setenv("TILL", "1")  # unchanged
    call = in_process(found)
    call()

    def replaced():
        child = call()["pid"]
        os.kill(child, 9)
        assert gone(child)
        return call()

    with monkeypatch.context() as patch:
        change(patch, tmp_path)
        expected = found()
        assert {**call(), "pid": 0} == {**expected, "pid": 0}
        assert {**replaced(), "pid": 0} == {**expected, "pid": 0}
    logging.getLogger("shop.till").setLevel(logging.NOTSET)
    assert call()[name] == found()[name]
    assert replaced()[name] == found()[name]


def test_changes_that_a_function_makes_to_its_environment_are_undone_after_the_call(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP", "Ann's")
    monkeypatch.setenv("TILL", "1")

    def work(folder):
        before = {**found(), "more": os.environ.get("MORE")}
        os.chdir(folder)
        os.environ["SHOP"] = "Bob's"
        os.environ["MORE"] = "more"
        del os.environ["TILL"]
        sys.path.insert(0, "/shop")
        logging.getLogger("shop.till").setLevel("ERROR")
        logging.disable(logging.INFO)
        configure(enabled=False)
        return before

    call = in_process(work)
    first, second, third = (call(tmp_path) for _ in range(3))
    assert first == second == third == {**found(), "more": None, "pid": first["pid"]}
    monkeypatch.setenv("SHOP", "Carl's")
    assert call(tmp_path) == {**first, "shop": "Carl's"}


def test_a_deleted_working_folder_is_no_error(in_process, tmp_path, monkeypatch):
    call = in_process(os.getpid)
    call()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    assert call() == call()


def test_stores_that_are_objects_are_not_sent(in_process, monkeypatch):
    monkeypatch.setattr(settings, "current", settings.current)
    configure(store=MemoryStore(), incidents=MemoryStore())
    assert in_process(lambda: (settings.current.store, settings.current.incidents))() == ("memory:", "memory:")


def test_every_one_of_several_children_at_work_gets_every_change(in_process, monkeypatch):
    barrier = threading.Barrier(3)
    seen = []

    def caller():
        call = in_process(lambda: os.environ["SHOP"])
        for number in range(5):
            if barrier.wait() == 0:
                monkeypatch.setenv("SHOP", str(number))
            barrier.wait()
            seen.append((number, call()))

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == [(number, str(number)) for number in range(5) for _ in range(3)]


def test_the_environment_is_the_same_object_until_it_changes(monkeypatch, tmp_path):
    first = environment.present()
    assert environment.present() is first
    logging.getLogger("shop.new")  # a logger without a level of its own changes nothing
    assert environment.present() is first
    for change in (
        lambda: monkeypatch.setenv("SHOP", "Ann's"),
        lambda: monkeypatch.delenv("SHOP"),
        lambda: monkeypatch.chdir(tmp_path),
        lambda: monkeypatch.syspath_prepend("/shop"),
        lambda: logging.getLogger("shop.new").setLevel("ERROR"),
        lambda: logging.getLogger("shop.new").setLevel("NOTSET"),
    ):
        change()
        now = environment.present()
        assert now is not first
        assert environment.present() is now
        first = now
