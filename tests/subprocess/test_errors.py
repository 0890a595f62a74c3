"""Exceptions return as they are: type, attributes, notes, causes and their real traceback."""

import dataclasses
import os
import pickle
import threading
import traceback
from pathlib import Path

import httpx
import pytest

from resilient_tasks import Failed, Kind, ProcessDied, ResilienceError, Retry, classify, safely
from resilient_tasks.core.failures import retry_after, status_of


class Unsold(Exception):
    """Cannot be restored from its `args`."""

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


def test_an_error_keeps_its_type_and_attributes_without_a_call_of_its_class(raised):
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
    assert "subprocess/child.py" not in text


def test_notes_cause_and_context_arrive(raised):
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


def test_errors_that_refer_to_each_other_arrive(raised):
    def work():
        first, second = ValueError("first"), ValueError("second")
        first.other, second.other = second, first
        raise first

    error = raised(work)
    assert error.other.other is error


def test_a_group_arrives_with_its_errors(raised):
    def work():
        raise ExceptionGroup("two", [ConnectionError("a"), ExceptionGroup("inner", [KeyError("b")])])

    error = raised(work)
    assert (error.message, str(error.exceptions[0])) == ("two", "a")
    assert type(error.exceptions[1].exceptions[0]) is KeyError


def test_an_http_error_arrives_with_its_response(raised):
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
def test_the_attributes_of_built_in_and_compiled_errors_arrive(make, shown, raised):
    error = raised(make)
    with pytest.raises(type(error)) as info:
        make()
    assert str(error) == str(info.value)
    for name in shown:
        assert getattr(error, name) == getattr(info.value, name)


def test_an_attribute_that_cannot_be_pickled_is_left_out_and_named_in_a_note(raised):
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
    assert error.__notes__ == ["left behind in its process, because it cannot be pickled: lock"]


def test_an_error_inside_an_error_leaves_out_only_its_own_unpicklable_attributes(raised):
    class PoolError(ConnectionError):  # as the errors of urllib3 in those of requests
        def __init__(self, inner, said):
            self.lock = threading.Lock()
            self.inner = inner
            super().__init__(said)

    def work():
        raise ConnectionError(PoolError(PoolError(None, "refused"), "no more retries"))

    error = raised(work)
    assert type(error) is ConnectionError
    assert str(error) == "no more retries"
    assert type(error.args[0]).__name__ == "PoolError"
    assert str(error.args[0].inner) == "refused"


def test_unpicklable_errors_that_refer_to_each_other_arrive_in_finite_time(raised):
    def work():
        errors = [ValueError(number) for number in range(30)]
        for number, error in enumerate(errors):
            error.lock, error.other = threading.Lock(), errors[number - 1]
        raise errors[0]

    error = raised(work)
    assert (type(error), str(error)) == (ValueError, "0")


def test_an_oserror_whose_args_are_replaced_keeps_its_number_and_text(raised):
    class ConnectorError(OSError):  # as those of aiohttp
        def __init__(self, key, inner):
            super().__init__(inner.errno, inner.strerror)
            self.args = key, inner

    def work():
        raise ConnectorError("a key", OSError(111, "refused"))

    error = raised(work)
    assert (str(error), error.errno, error.strerror) == ("[Errno 111] refused", 111, "refused")
    assert error.args[0] == "a key"


def test_an_error_whose_type_cannot_be_pickled_is_replaced_by_one_that_names_it(raised):
    def work():
        raise type("Odd", (Exception,), {"lock": threading.Lock()})("text")

    error = raised(work)
    assert type(error) is ResilienceError
    assert "Odd, which cannot leave its process: text" in str(error)
    assert "in work" in error.__notes__[0]


def test_an_error_of_a_local_class_keeps_its_class(raised):
    class Local(Exception):
        pass

    def work():
        raise Local

    assert type(raised(work)) is Local


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_base_exception_is_raised_in_the_caller(kind, raised):
    def work():
        raise kind(3)

    error = raised(work)
    assert type(error) is kind
    assert error.args == (3,)


def test_a_recursion_error_arrives_with_its_long_traceback(raised):
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
    def test_a_process_that_ends_by_itself_is_reported_with_its_exit_code_or_signal(self, end, text, about, in_process):
        outcome = in_process(end).outcome()
        assert isinstance(outcome, Failed)
        assert type(outcome.error) is ProcessDied
        assert str(outcome.error).endswith(text)
        assert (outcome.error.exitcode, outcome.error.signal) == about
        assert classify(outcome.error) is Kind.RESOURCE

    def test_its_end_is_noticed_while_a_process_it_forked_lives_on(self, in_process):
        def work():
            import time

            if os.fork() == 0:
                time.sleep(60)
            os._exit(3)

        assert in_process(work).outcome().error.exitcode == 3


class Refused(Exception):
    """As aiohttp's `ClientResponseError`: its text needs an unpicklable attribute."""

    def __init__(self, status, headers):
        super().__init__(status)
        self.status = status
        self.request = threading.Lock()
        self.headers = headers

    def __str__(self):
        return f"{self.status}, locked={self.request.locked()}"


class Headers(dict):
    def __reduce__(self):
        raise TypeError("headers cannot be pickled")


def refuse():
    raise Refused(503, Headers({"Retry-After": "7"}))


class TestAnErrorWithPartsLeftOut:
    def test_it_keeps_type_text_arguments_and_picklable_attributes(self, raised):
        error = raised(refuse)
        assert isinstance(error, Refused)
        assert type(error).__qualname__ == "Refused"
        assert (str(error), error.args, error.status) == ("503, locked=False", (503,), 503)
        assert repr(error)
        assert "left behind in its process, because it cannot be pickled: request, headers" in error.__notes__[0]

    def test_it_is_classified_as_in_the_child(self, raised):
        error = raised(refuse)
        assert (classify(error), status_of(error), retry_after(error)) == (Kind.THROTTLED, 503, 7.0)

    def test_its_retry_after_is_honoured(self, in_process, resilient_clock):
        with pytest.raises(Refused):
            in_process(refuse, retry=Retry(attempts=2, wait=0))()
        assert resilient_clock.waits == [7.0]

    def test_pickled_again_it_is_replaced_by_one_that_names_it(self, raised):
        again = pickle.loads(pickle.dumps(raised(refuse)))
        assert type(again) is ResilienceError
        assert str(again) == f"{__name__}.Refused: 503, locked=False"

    def test_one_that_cannot_be_pickled_at_all_is_classified_as_in_the_child(self, raised):
        def work():
            class Local(type):
                def __reduce_ex__(cls, protocol):
                    raise TypeError("not this class")

            raise Local("Unknown", (ConnectionResetError,), {"lock": threading.Lock()})("reset")

        error = raised(work)
        assert type(error) is ResilienceError
        assert "Unknown" in str(error)
        assert "reset" in str(error)
        assert classify(error) is Kind.TRANSIENT

    def test_aiohttps_keeps_its_text_and_its_retry_after(self, raised):
        pytest.importorskip("aiohttp")

        def work():
            import aiohttp  # in the child
            from multidict import CIMultiDict, CIMultiDictProxy
            from yarl import URL

            class Request:
                real_url = URL("http://flights/07")

                def __reduce__(self):
                    raise TypeError

            headers = CIMultiDictProxy(CIMultiDict({"Retry-After": "7"}))
            raise aiohttp.ClientResponseError(Request(), (), status=503, message="busy", headers=headers)

        error = raised(work)
        assert (error.status, error.message) == (503, "busy")
        assert str(error) == "503, message='busy', url='http://flights/07'"
        assert (classify(error), retry_after(error)) == (Kind.THROTTLED, 7.0)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int


class Slotted(Exception):
    __slots__ = ("what",)

    def __str__(self):
        return f"slot {self.what}"


class SaysNothing(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class NotesOfItsOwn(Exception):
    __notes__ = 7


class NoReduce(Exception):
    def __reduce__(self):
        raise RuntimeError("not pickled")


class EveryAttributeRaises(Exception):
    def __getattr__(self, name):
        raise KeyError(name)


def slotted():
    error = Slotted()
    error.what = "snow"
    return error


@pytest.mark.parametrize(
    "make",
    [lambda: Frozen(7), slotted, lambda: SaysNothing(7), lambda: NotesOfItsOwn(7), lambda: NoReduce(7)],
    ids=["frozen", "slots", "__str__ raises", "__notes__ is a number", "__reduce__ raises"],
)
def test_an_error_with_failing_methods_arrives(raised, make):
    def work():
        raise make()

    error = raised(work)
    assert type(error) is type(make())
    assert safely.text(error) == safely.text(make())


def test_an_error_whose_attributes_cannot_be_read_arrives(raised):
    def work():
        error = EveryAttributeRaises("odd")
        error.lock = threading.Lock()
        raise error

    error = raised(work)
    assert isinstance(error, EveryAttributeRaises)
    assert str(error) == "odd"
