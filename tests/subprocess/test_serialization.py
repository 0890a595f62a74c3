"""What is sent to a child process, and what returns."""

import asyncio
import functools
import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from resilient_tasks import Failed, Kind, Pipeline, ResilienceError, Timeout, classify, resilient

PROCESS = Timeout(20, enforce="process")
lock = threading.Lock()


@resilient(timeout=PROCESS)
def decorated(value, *, factor=1):
    """Use something that cannot be pickled, such as a module's client or connection."""
    with lock:
        return value * factor, os.getpid()


class Shop:
    def __init__(self, name):
        self.name = name

    @resilient(timeout=PROCESS)
    def sells(self, what):
        return f"{self.name} sells {what}"

    @classmethod
    @resilient(timeout=PROCESS)
    def named(cls, name):
        return cls(name)

    @staticmethod
    @resilient(timeout=PROCESS)
    def twice(value):
        return 2 * value


@pytest.fixture
def sent_by_name(monkeypatch):
    """This module, importable by other processes."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent))
    spec = importlib.util.spec_from_file_location("test_serialization", __file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "test_serialization", module)
    spec.loader.exec_module(module)
    return module


def test_a_function_runs_in_another_process_with_its_arguments_and_its_result(sent_by_name):
    value, pid = sent_by_name.decorated([1], factor=2)
    assert value == [1, 1]
    assert pid != os.getpid()


def test_methods_class_methods_and_static_methods_can_be_called(sent_by_name):
    shop = sent_by_name.Shop("Ann's")
    assert shop.sells("tea") == "Ann's sells tea"
    assert isinstance(sent_by_name.Shop.named("Bob's"), sent_by_name.Shop)
    assert sent_by_name.Shop.twice(2) == 4


def test_a_local_function_is_sent_with_its_closure(in_process):
    factor = 3
    assert in_process(lambda value: value * factor)(2) == 6


def test_a_closure_is_sent_as_it_is_at_the_time_of_the_call(in_process):
    factor = 3

    @in_process
    def times(value):
        return value * factor

    assert times(2) == 6
    factor = 4
    assert times(2) == 8


def test_a_partial_and_a_callable_object_can_be_called(in_process):
    class Adder:
        def __call__(self, a, b):
            return a + b

    pipeline = Pipeline(PROCESS)
    assert pipeline.call(functools.partial(max, 3), 4) == 4
    assert pipeline.call(Adder(), 1, 2) == 3


def test_a_large_argument_and_a_large_result_arrive(in_process):
    data = os.urandom(30_000_000)
    assert in_process(lambda value: value[::-1])(data) == data[::-1]


def test_definitions_of_a_module_that_cannot_be_imported_go_by_value(tmp_path, in_process, monkeypatch):
    path = tmp_path / "script.py"
    path.write_text("class Point:\n    x = 1\n\ndef move(point):\n    point.x += 1\n    return point\n")
    spec = importlib.util.spec_from_file_location("loaded_from_a_file", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "loaded_from_a_file", module)
    spec.loader.exec_module(module)
    moved = in_process(module.move)(module.Point())
    assert type(moved) is module.Point
    assert (moved.x, module.Point.x) == (2, 1)


def test_a_module_is_found_whose_folder_was_on_the_path_only_while_it_was_imported(tmp_path, in_process, monkeypatch):
    (tmp_path / "package").mkdir()
    path = tmp_path / "package" / "helpers.py"
    path.write_text("from threading import Lock\nlock = Lock()\ndef twice(value):\n    return 2 * value * bool(lock)\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        helpers = importlib.import_module("package.helpers")
    assert in_process(helpers.twice)(2) == 4
    assert in_process(lambda: helpers.twice(3))() == 6


def test_a_class_sent_by_value_returns_as_the_original_and_unchanged(in_process):
    class Counter:
        made = 0

    def make():
        Counter.made += 1
        return Counter()

    assert type(in_process(make)()) is Counter
    assert Counter.made == 0


def test_the_main_module_needs_no_guard_and_no_importable_functions(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            from resilient_tasks import Timeout, resilient

            class Unsold(Exception): ...

            @resilient(timeout=Timeout(20, enforce="process"))
            def sell(what):
                if what == "snow":
                    raise Unsold(what)
                return f"sold {what}"

            print(sell("tea"))
            try:
                sell("snow")
            except Unsold as error:
                print("unsold", error)
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "sold tea\nunsold snow\n"


def test_the_function_has_the_folder_variables_and_path_of_its_caller(in_process, tmp_path, monkeypatch):
    around = in_process(lambda: (str(Path.cwd()), os.environ.get("SHOP"), sys.path[0]))
    around()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP", "Ann's")
    monkeypatch.syspath_prepend("/shop")
    assert around() == (str(tmp_path), "Ann's", "/shop")
    monkeypatch.undo()
    assert around()[1:] == (None, sys.path[0])


class TestUnpicklable:
    def refused(self, fn, *args):
        outcome = resilient(timeout=PROCESS)(fn).outcome(*args)
        assert isinstance(outcome, Failed)
        assert type(outcome.error) is TypeError
        assert classify(outcome.error) is Kind.PERMANENT
        return str(outcome.error)

    def test_an_argument(self):
        def save(rows, connection): ...

        text = self.refused(save, [], threading.Lock())
        assert text.startswith(
            "TestUnpicklable.test_an_argument.<locals>.save cannot be called".rpartition("<locals>.")[2]
        )
        assert "it is given 'connection', a _thread.lock (cannot pickle '_thread.lock' object)" in text
        assert "Pass what it is made from" in text

    def test_a_value_that_the_function_uses(self):
        client = threading.Lock()
        text = self.refused(lambda: client)
        assert "it uses 'client', a _thread.lock" in text
        assert "Make that inside the function" in text

    @pytest.mark.parametrize(
        ("result", "named"),
        [("(x for x in [])", "generator"), ("threading.Lock()", "lock")],
    )
    def test_a_result(self, result, named):
        make = eval(f"lambda: {result}", {"asyncio": asyncio, "threading": threading})
        text = self.refused(make)
        assert f"returned a {named}, which cannot leave its process" in text
        assert "Return plain data" in text

    def test_a_module_that_cannot_be_imported_there(self, in_process, tmp_path, monkeypatch):
        path = tmp_path / "only_here.py"
        path.write_text(f"import os\nassert os.getpid() == {os.getpid()}\ndef work(): ...\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        error = in_process(importlib.import_module("only_here").work).outcome().error
        assert isinstance(error, ResilienceError)
        assert "work could not be loaded in a process of its own" in str(error)
        assert isinstance(error.__cause__, AssertionError)
