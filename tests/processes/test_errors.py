"""Exceptions come back as they are: type, attributes, notes, causes and their real traceback."""

import os
import threading
import traceback
from pathlib import Path

import httpx
import pytest

from resilient_tasks import Failed, Kind, ProcessDied, ResilienceError, classify


class Unsold(Exception):
    """Cannot be made again from its `args`."""

    made = 0

    def __init__(self, *, what, price):
        Unsold.made += 1
        super().__init__(f"{what} is unsold")
        self.what = what
        self.price = price


def fail_deep():
    raise Unsold(what="snow", price=3)


@pytest.fixture
def raised(in_process):
    """`raised(fn)` is the exception that comes out of the child."""

    def of(fn, *args):
        with pytest.raises(BaseException) as info:
            in_process(fn)(*args)
        return info.value

    return of


def test_an_error_keeps_its_type_and_attributes_and_nothing_of_its_class_is_called(raised):
    error = raised(fail_deep)
    assert type(error) is Unsold
    assert (str(error), error.what, error.price) == ("snow is unsold", "snow", 3)
    assert Unsold.made == 0


def test_its_traceback_shows_the_frames_of_the_child(raised):
    def outer():
        fail_deep()

    error = raised(outer)
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-2:] == ["outer", "fail_deep"]
    text = "".join(traceback.format_exception(error))
    assert 'raise Unsold(what="snow", price=3)' in text
    assert "processes/child.py" not in text


def test_notes_cause_and_context_cross(raised):
    def work():
        try:
            try:
                fail_deep()
            except Unsold as first:
                raise ValueError("second") from first
        except ValueError:
            error = KeyError("third")
            error.add_note("a note")
            raise error  # noqa: B904  # a context is wanted

    error = raised(work)
    assert error.__notes__ == ["a note"]
    assert type(error.__context__) is ValueError
    assert type(error.__context__.__cause__) is Unsold
    assert error.__context__.__suppress_context__
    assert not error.__suppress_context__
    assert traceback.extract_tb(error.__context__.__cause__.__traceback__)[-1].name == "fail_deep"


def test_a_suppressed_context_stays_suppressed(raised):
    def work():
        try:
            fail_deep()
        except Unsold:
            raise ValueError from None

    error = raised(work)
    assert (error.__cause__, error.__suppress_context__) == (None, True)
    assert type(error.__context__) is Unsold


def test_errors_in_a_circle_cross(raised):
    def work():
        first, second = ValueError("first"), ValueError("second")
        first.other, second.other = second, first
        raise first

    error = raised(work)
    assert error.other.other is error


def test_a_group_crosses_with_its_errors(raised):
    def work():
        raise ExceptionGroup("two", [ConnectionError("a"), ExceptionGroup("inner", [KeyError("b")])])

    error = raised(work)
    assert (error.message, str(error.exceptions[0])) == ("two", "a")
    assert type(error.exceptions[1].exceptions[0]) is KeyError


def test_an_http_error_crosses_with_its_response(raised):
    def work():
        request = httpx.Request("GET", "http://shop.test")
        httpx.Response(503, request=request, headers={"Retry-After": "7"}).raise_for_status()

    error = raised(work)
    assert type(error) is httpx.HTTPStatusError
    assert (error.response.status_code, error.response.headers["Retry-After"]) == (503, "7")
    assert classify(error) is Kind.THROTTLED


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: Path("/no/such/file").stat(), ("errno", "filename")),
        (lambda: str(b"\xff", "utf-8"), ("reason", "start")),
        (lambda: compile("a b", "f", "exec"), ("filename", "lineno", "text")),
        (lambda: __import__("no_such_module"), ("name", "msg")),
        (lambda: {}["a"], ("args",)),
        (lambda: __import__("json").loads("{"), ("msg", "pos")),
        (lambda: __import__("pydantic").TypeAdapter(int).validate_python("x"), ("title",)),
    ],
)
def test_what_built_in_and_compiled_errors_know_crosses(make, shown, raised):
    error = raised(make)
    with pytest.raises(type(error)) as info:
        make()
    assert str(error) == str(info.value)
    for name in shown:
        assert getattr(error, name) == getattr(info.value, name)


def test_an_attribute_that_cannot_cross_is_left_behind_and_named(raised):
    def work():
        error = ValueError("text", threading.Lock())
        error.lock = threading.Lock()
        error.kept = 1
        raise error

    error = raised(work)
    assert type(error) is ValueError
    assert error.args[0] == "text"
    assert error.args[1].startswith("<unlocked _thread.lock")
    assert error.kept == 1
    assert not hasattr(error, "lock")
    assert error.__notes__ == ["left behind in its process, for want of a pickled form: lock"]


def test_an_error_whose_type_cannot_cross_is_named(raised):
    def work():
        raise type("Odd", (Exception,), {"lock": threading.Lock()})("text")

    error = raised(work)
    assert type(error) is ResilienceError
    assert "Odd, which cannot leave its process: text" in str(error)
    assert "in work" in error.__notes__[0]


def test_an_error_of_a_local_class_is_of_that_class(raised):
    class Local(Exception):
        pass

    def work():
        raise Local

    assert type(raised(work)) is Local


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_no_exception_is_raised_in_the_caller(kind, raised):
    def work():
        raise kind(3)

    error = raised(work)
    assert type(error) is kind
    assert error.args == (3,)


def test_a_recursion_without_end_crosses(raised):
    def work():
        work()

    error = raised(work)
    assert type(error) is RecursionError
    assert len(traceback.extract_tb(error.__traceback__)) > 900


class TestDeath:
    @pytest.mark.parametrize(
        ("end", "text", "about"),
        [
            (lambda: os._exit(3), "'s process ended with exit code 3", (3, None)),
            (lambda: os.kill(os.getpid(), 9), "'s process was killed by SIGKILL (out of memory?)", (None, 9)),
            (lambda: os.kill(os.getpid(), 11), "'s process was killed by SIGSEGV (a crash in C code)", (None, 11)),
            (lambda: os.kill(os.getpid(), 40), "'s process was killed by signal 40", (None, 40)),
        ],
        ids=["exit", "SIGKILL", "SIGSEGV", "a signal without a name"],
    )
    def test_a_process_that_ends_by_itself_is_an_error_that_says_how(self, end, text, about, in_process):
        outcome = in_process(end).outcome()
        assert isinstance(outcome, Failed)
        assert type(outcome.error) is ProcessDied
        assert str(outcome.error).endswith(text)
        assert (outcome.error.exitcode, outcome.error.signal) == about
        assert classify(outcome.error) is Kind.RESOURCE

    def test_it_is_noticed_although_a_process_that_it_forked_lives_on(self, in_process):
        def work():
            import time

            if os.fork() == 0:
                time.sleep(60)
            os._exit(3)

        assert in_process(work).outcome().error.exitcode == 3
