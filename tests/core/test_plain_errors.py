"""The fast path for plain errors gives the same result as the full classification."""

import asyncio
import binascii
import concurrent.futures
import errno
import ftplib
import gc
import http.client
import imaplib
import itertools
import multiprocessing
import poplib
import queue
import socket
import ssl
import subprocess
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_tasks import Kind, Retry, classify, register_kind
from resilient_tasks.core import failures
from resilient_tasks.core.classification import plain_errors
from resilient_tasks.core.errors import CircuitOpen, PolicyError, ResilienceError
from resilient_tasks.core.failures import Facts, http_failure, retry_after, status_of

PYTHONS = [
    *(Exception, OSError, RuntimeError, ConnectionError, ConnectionRefusedError, BrokenPipeError, TimeoutError),
    *(FileNotFoundError, PermissionError, InterruptedError, ValueError, TypeError, KeyError, IndexError, EOFError),
    *(AttributeError, ZeroDivisionError, AssertionError, NotImplementedError, MemoryError, RecursionError),
    *(socket.gaierror, socket.herror, ssl.SSLError, ssl.SSLEOFError, http.client.RemoteDisconnected),
    *(queue.Empty, asyncio.InvalidStateError, concurrent.futures.BrokenExecutor, multiprocessing.ProcessError),
    *(poplib.error_proto, imaplib.IMAP4.error, imaplib.IMAP4.abort, ftplib.error_temp, ftplib.error_perm),
    *(binascii.Error, subprocess.SubprocessError, StopIteration, PolicyError, ResilienceError, LookupError),
]


def _users(name, *bases, **members):
    return types.new_class(name, bases, exec_body=lambda space: space.update(__module__="flows", **members))


def _spoken(self):
    return "certificate verify failed"


USERS = [
    _users("ApiDown", Exception),
    _users("Flaky", ConnectionError),
    _users("Late", TimeoutError),
    _users("Wrong", ValueError),
    _users("Full", OSError),
    _users("Http503Error", Exception),
    _users("ResponseError", Exception),
    _users("HttpProblem", Exception),
    _users("TlsProblem", ConnectionError),
    _users("Speaking", ConnectionError, __str__=_spoken),
    _users("Odd", Exception, args=property(lambda self: (ConnectionError("inside"),))),
    _users("Bearing", Exception, status_code=503),
    _users("Asking", Exception, retry_after=7),
    _users("Making", Exception, __getattr__=lambda self, name: 503 if name == "status" else None),
    _users("Slotted", ConnectionError, __slots__=("held",)),
]
TEXTS = [
    *("", "refused", "timed out", "HTTP 503", "status code: 429", "503: no", "TOO MANY REQUESTS", "tls", "Größe"),
    *("certificate verify failed: unable to get local issuer", "CERTIFICATE_VERIFY_FAILED", "hostname mismatch", "ſſl"),
    *("Multiple exceptions: [Errno 111] refused, [Errno 22] no", "connection reset by peer", "\ud800", "x" * 5000),
    *("retry after 3 s", "rate limit exceeded", "database is locked", "[HY000] no"),
    *("[SYS/TEMP] later", "[UNAVAILABLE] later", "[IN-USE] locked", "421 too many"),
]
NUMBERS = [0, 1, 22, -2, errno.ECONNREFUSED, errno.ENOSPC, errno.ETIMEDOUT, 503, 429, 12345, 2.5, True, None, b"x"]
ARGUMENTS = [
    (),
    *((one,) for one in (*TEXTS, *NUMBERS, ConnectionError("inside"), [TimeoutError()], {"status": 503})),
    *itertools.product(("HY000", errno.ECONNRESET, errno.EACCES, 7), ("[HY000] no", "refused", "certificate expired")),
    (errno.ENOENT, "no such file", "/tmp/tls.pem"),
    ("08S01", "[08S01] the link was lost"),
    (1, 2, 3, 4),
]
LEFT_ON_IT = [
    {},
    {"__notes__": ["a note"]},
    {"__notes__": [ConnectionError("no note")]},
    {"status_code": 503},
    {"cause": TimeoutError()},
    {"errno": errno.ENOSPC},
]


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch):
    monkeypatch.setattr(failures, "_registered", [])


def _made(cls, args, left, cause):
    try:
        error = cls(*args)
    except TypeError:
        return None
    vars(error).update(left)
    if cause is not None:
        error.__cause__ = cause
    return error


def _judged(error):
    return classify(error), status_of(error), http_failure(error), retry_after(error)


def _with_care(error):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_errors, "plain", lambda _: None)
        return _judged(error)


@pytest.mark.parametrize("cls", [*PYTHONS, *USERS], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("left", LEFT_ON_IT, ids=lambda left: next(iter(left), "nothing"))
def test_a_plain_error_has_the_kind_of_the_full_classification(cls, left):
    for args in ARGUMENTS:
        error = _made(cls, args, left, None)
        if error is not None:
            assert _judged(error) == _with_care(error), error


errors = st.builds(
    _made,
    st.sampled_from([*PYTHONS, *USERS]),
    st.lists(st.one_of(st.sampled_from([*TEXTS, *NUMBERS]), st.text(max_size=20), st.integers()), max_size=3),
    st.sampled_from(LEFT_ON_IT),
    st.one_of(st.none(), st.sampled_from([TimeoutError("late"), KeyError("k"), ssl.SSLError("no")])),
)


@given(errors)
@settings(max_examples=300, deadline=None)
def test_so_has_any_other_error(error):
    if error is not None:
        assert _judged(error) == _with_care(error)
        facts = Facts(error)
        assert (facts.retry_after, facts.http_status, facts.kind) == (retry_after(error), *_judged(error)[2::-2])


@pytest.mark.parametrize("cls", [OSError, RuntimeError, Exception])
def test_the_text_counts_if_an_installed_library_raised_it(cls):
    raising = {"cls": cls}
    code = "def fetch(): raise cls('connection refused by the server')"
    exec(compile(code, "/lib/site-packages/client/core.py", "exec"), raising)  # a frame of a library
    with pytest.raises(cls) as caught:
        raising["fetch"]()
    assert _judged(caught.value) == _with_care(caught.value)
    assert classify(caught.value) is Kind.TRANSIENT


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError(), ValueError("no"), KeyError("k")])
def test_the_usual_errors_are_plain(error):
    assert plain_errors.plain(error) is not None


def test_registered_rules_come_first():
    register_kind(ConnectionError, Kind.REJECTED)
    assert classify(ConnectionError("refused")) is Kind.REJECTED
    assert Facts(ConnectionError("refused")).kind is Kind.REJECTED


def test_a_class_is_not_confused_with_an_earlier_one_at_its_address():
    for number in range(300):
        name, kind = (("Late", Kind.TIMEOUT), ("Flaky", Kind.TRANSIENT), ("Mine", Kind.PERMANENT))[number % 3]
        base = {"Late": TimeoutError, "Flaky": ConnectionError, "Mine": Exception}[name]
        error = _users(name, base)("no")
        assert classify(error) is kind
        del error, base
        if number % 10 == 0:
            gc.collect(1)  # a class is part of a cycle: the next one may reuse its address


class TestFacts:
    def test_each_is_computed_once(self, monkeypatch):
        asked = []
        monkeypatch.setitem(failures._FIND, "http_status", lambda error: asked.append(error) or 503)
        facts = Facts(CircuitOpen("closed for now", retry_in=3.0))
        assert [facts.http_status, facts.http_status] == [503, 503]
        assert len(asked) == 1

    def test_there_is_no_other(self):
        with pytest.raises(AttributeError, match="colour"):
            _ = Facts(ValueError()).colour

    def test_an_event_has_them(self):
        about = {"kind": "transient", "error_type": "ConnectionError", "message": "refused", "http_status": None}
        assert Facts(ConnectionError("refused")).about() == failures.about(ConnectionError("refused")) == about

    def test_a_failed_attempt_is_classified_once_for_all_policies(
        self, drive, flaky, resilient_clock, resilient_events
    ):
        judged = []
        register_kind(lambda error: bool(judged.append(error)) or isinstance(error, ConnectionError), Kind.TRANSIENT)
        fetch = flaky(ConnectionError("one"), ConnectionError("two"))
        assert drive(fetch, retry=Retry(attempts=3, wait=1))() == "done"
        assert [str(error) for error in judged] == ["one", "two"]
        assert [event.kind for event in resilient_events.named("retry.scheduled")] == ["transient", "transient"]
