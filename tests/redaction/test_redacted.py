"""Redacted copies of errors have the same type; only their own process can find the original."""

import copy
import functools
import json
import pickle
import sys
import traceback
from collections import UserDict
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import httpx
import pytest
import requests
from pydantic import BaseModel, ValidationError

from resilient_tasks import Kind, ResilienceError, classify
from resilient_tasks.core.failures import retry_after, status_of
from resilient_tasks.redaction import exceptions as exceptions_module
from resilient_tasks.redaction import text as text_module
from resilient_tasks.redaction.exceptions import Withheld, original_of, redacted

sys.path.insert(0, str(Path(__file__).parent))
from secrets_corpus import corpus, look_alikes

PAIR = "password=hunter2"


class Place(NamedTuple):
    host: str
    url: str


class Refused(Exception):
    """Like many libraries' errors, it takes keywords, keeps attributes, and builds its text from them."""

    def __init__(self, *, url, **more):
        super().__init__()
        self.url = url
        self.__dict__.update(more)

    def __str__(self):
        return f"no answer from {self.url}"


class Slotted(Exception):
    __slots__ = ("sent",)


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def everything_in(error):
    """Return everything that a traceback prints and a pickle contains."""
    return "".join(traceback.format_exception(error)) + repr(error) + cloudpickle.dumps(error).decode("latin-1")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        KeyError("api_key"),
        OSError(2, "no such file", "/x/y"),
        ExceptionGroup("two", [KeyError(1)]),
        Refused(url="http://h"),
    ],
)
def test_an_error_without_a_secret_needs_no_copy(error):
    assert redacted(raised(error)) is None


@pytest.mark.parametrize("text", look_alikes())
def test_what_looks_like_a_secret_needs_no_copy(text):
    assert redacted(raised(ValueError(text))) is None


@pytest.mark.parametrize("planted", corpus(), ids=lambda planted: planted.shape)
def test_a_copy_has_the_same_type_and_no_secrets(planted):
    made = redacted(raised(ConnectionError(planted.text, {"said": [planted.text]})))
    assert type(made) is ConnectionError
    assert planted.secret not in everything_in(made)
    assert made.__traceback__ is not None
    assert redacted(made) is None


def test_attributes_notes_and_nested_data_are_redacted():
    error = Refused(url="https://bob:hunter2@h/x", data={"api_key": "hunter2", "rows": 3}, place=Place("h", PAIR), n=7)
    error.password = "hunter2"
    error.add_note(f"tried {PAIR}")
    made = redacted(error)
    assert type(made) is Refused
    assert str(made) == "no answer from https://bob:***@h/x"
    assert (made.data, made.place, made.n, made.password) == (
        {"api_key": "***", "rows": 3},
        Place("h", "password=***"),
        7,
        "***",
    )
    assert made.__notes__ == ["tried password=***"]
    assert "hunter2" not in everything_in(made)
    assert (error.password, error.__notes__) == ("hunter2", [f"tried {PAIR}"])  # the original is unchanged


def test_a_copy_keeps_what_a_built_in_error_stores_outside_its_dict():
    made = redacted(OSError(13, PAIR, "/x/token=abc1"))
    assert (type(made), made.errno, made.strerror, made.filename) == (
        PermissionError,
        13,
        "password=***",
        "/x/token=***",
    )
    slotted = Slotted("sent")
    slotted.sent = PAIR
    assert redacted(slotted).sent == "password=***"
    try:
        json.loads('{"password": "hunter2", }')
    except json.JSONDecodeError as error:
        made, position = redacted(error), error.pos
    assert type(made) is json.JSONDecodeError
    assert made.doc == '{"password": "***", }'
    assert made.pos == position


def test_the_errors_in_a_group_are_copied_too():
    made = redacted(ExceptionGroup("two", [ValueError(PAIR), KeyError("x")]))
    assert [repr(part) for part in made.exceptions] == ["ValueError('password=***')", "KeyError('x')"]


@pytest.mark.parametrize("link", ["cause", "context"])
def test_a_secret_in_a_cause_or_context_makes_a_copy_without_any(link):
    def fail():
        try:
            raise ValueError(PAIR)
        except ValueError as first:
            if link == "cause":
                raise KeyError("x") from first
            raise KeyError("x")  # noqa: B904  # which makes it a context

    try:
        fail()
    except KeyError as error:
        made, kept = redacted(error), redacted(error, chain=True)
    assert (made.__cause__, made.__context__, made.__suppress_context__) == (None, None, True)
    assert "hunter2" not in everything_in(made)
    printed = "".join(traceback.format_exception(kept))
    assert "ValueError: password=***" in printed
    assert ("direct cause" if link == "cause" else "another exception occurred") in printed


def test_a_suppressed_context_is_ignored():
    error = raised(KeyError("x"))
    error.__context__, error.__suppress_context__ = ValueError(PAIR), True
    assert redacted(error) is None


def test_errors_that_are_their_own_cause_terminate():
    first, second = ValueError(PAIR), KeyError(PAIR)
    first.__cause__, second.__cause__ = second, first
    assert str(redacted(first)) == "password=***"
    assert redacted(first, chain=True) is not None


def test_a_source_line_with_a_secret_is_not_shown():
    def connect(url):
        raise ConnectionError("refused")

    try:
        connect("https://bob:hunter2@example.org")
    except ConnectionError as error:
        made = redacted(error)
    assert type(made) is ConnectionError
    assert made.__traceback__ is None
    assert "hunter2" not in everything_in(made)


def test_a_source_line_that_only_names_a_secret_is_shown():
    password = PAIR

    def connect(password):
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError) as caught:
        connect(password=password)
    assert redacted(caught.value) is None


def test_a_request_with_a_secret_header_is_left_out_and_the_kind_of_failure_stays():
    request = httpx.Request("GET", "http://127.0.0.1/x", headers={"Authorization": "Bearer hunter2-hunter2"})
    response = httpx.Response(503, request=request, headers={"Retry-After": "7"})
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        made = redacted(error)
    assert type(made) is httpx.HTTPStatusError
    assert isinstance(made.response, Withheld)
    assert (made.response.status_code, made.response.headers) == (503, {"Retry-After": "7"})
    assert classify(made) is Kind.THROTTLED
    assert repr(made.request) == "<httpx.Request, left out: it held a secret>"
    assert "hunter2" not in everything_in(made)
    prepared = requests.Request("GET", "http://127.0.0.1/x", headers={"X-Api-Key": "hunter2"}).prepare()
    made = redacted(requests.ConnectionError("refused", request=prepared))
    assert isinstance(made.request, Withheld)
    plain = requests.Request("GET", "http://127.0.0.1/x").prepare()
    assert redacted(requests.ConnectionError("refused", request=plain)) is None


class Slots:
    __slots__ = ("never", "sent")

    def __init__(self, sent):
        self.sent = sent


class Items(list):
    __slots__ = ()

    def __repr__(self):
        return "Items"


class Shown:
    def __repr__(self):
        return PAIR


class Failing:
    def __init__(self, **held):
        self.__dict__.update(held)

    def __getattribute__(self, name):
        if name == "status_code":
            raise RuntimeError("no")
        return super().__getattribute__(name)

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "holder",
    [
        Slots(PAIR),
        Items([PAIR]),
        UserDict({"password": "hunter2"}),
        functools.partial(print, PAIR),
        functools.partial(print, file=PAIR),
        Shown(),
        Failing(sent=PAIR),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_an_object_with_a_secret_anywhere_is_left_out(holder):
    made = redacted(Refused(url="http://h", holder=holder))
    assert isinstance(made.holder, Withheld)
    assert made.holder.what.endswith(type(holder).__qualname__)
    assert redacted(made) is None


@pytest.mark.parametrize(
    "holder", [Slots("plain"), Items([1]), UserDict(a=1), functools.partial(print, 1), Failing(), print]
)
def test_an_object_without_a_secret_needs_no_copy(holder):
    assert redacted(Refused(url="http://h", holder=holder)) is None


class Throttled(Exception):
    """Shows its token, whatever it holds."""

    def __init__(self, status_code=429, retry_after=7):
        self.status_code, self.retry_after = status_code, retry_after

    def __str__(self):
        return f"refused with {PAIR}"


class Unprintable(Throttled):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("again", [lambda made: made, lambda made: pickle.loads(pickle.dumps(made))])
@pytest.mark.parametrize(
    ("error", "replaced"),
    [(Throttled(), redacted), (Unprintable(), exceptions_module.presentable)],
    ids=["secret", "text"],
)
def test_a_stand_in_has_the_kind_the_status_and_the_wait_of_its_error(error, replaced, again):
    made = again(replaced(error))
    assert "hunter2" not in str(made)
    assert classify(made) is classify(error) is Kind.THROTTLED
    assert (status_of(made), retry_after(made)) == (429, 7.0)


def test_an_error_that_python_code_cannot_create_is_replaced():
    class Login(BaseModel):
        rows: int

    with pytest.raises(ValidationError) as caught:
        Login(rows=PAIR)
    made = redacted(caught.value)
    assert type(made) is ResilienceError
    assert "ValidationError" in str(made)
    assert "hunter2" not in everything_in(made)


def test_an_error_that_cannot_be_copied_is_replaced_by_one_that_names_its_type():
    class Stubborn(Exception):
        def __str__(self):
            return PAIR

    error = Stubborn()
    error.add_note(PAIR)
    made = redacted(error)
    assert type(made) is ResilienceError
    assert str(made).endswith("Stubborn: password=***")
    assert made.__notes__ == ["password=***"]
    assert original_of(made) is error


def test_an_error_that_cannot_be_searched_is_replaced():
    class Worse(Exception):
        __slots__ = ("field",)

        def __getattribute__(self, name):
            if name == "field":
                raise RuntimeError(PAIR)
            return super().__getattribute__(name)

    made = redacted(Worse("harmless"))
    assert type(made) is ResilienceError
    assert "Worse: harmless" in str(made)


def test_an_error_without_a_repr_is_searched_otherwise():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no")

    error = Mute(PAIR)
    made = redacted(error)
    assert "hunter2" not in everything_in(made)


def test_the_original_is_found_in_this_process_and_in_no_pickle():
    error = ValueError(PAIR)
    made = redacted(error)
    assert original_of(made) is error
    assert original_of(error) is error
    assert original_of(copy.deepcopy(made)) is error
    again = pickle.loads(pickle.dumps(made))
    assert original_of(again) is again
    assert "hunter2" not in repr(vars(made))
    assert "hunter2" not in pickle.dumps(made).decode("latin-1")


class TestAnErrorOfMegabytes:
    LONG = "SELECT a FROM b WHERE c = 'word' " * 300_000

    def test_has_a_copy_of_its_own_type_with_a_short_text(self):
        error = ValueError(self.LONG)
        error.add_note(self.LONG)
        error.statement, error.raw = self.LONG, self.LONG.encode()
        made = redacted(error)
        assert type(made) is ValueError
        assert "characters left out" in str(made)
        assert len(str(made)) < 6_000
        assert len(made.__notes__[0]) < 6_000
        assert len(made.statement) < 6_000
        assert isinstance(made.raw, bytes)
        assert len(made.raw) < 12_000

    def test_is_also_short_if_it_holds_many_texts(self):
        error = ValueError(["a text that is not short at all, again and again " * 20 for _ in range(3_000)])
        error.causes = {"password": "hunter2-hunter2", "number": 7}
        made = redacted(error)
        assert sum(map(len, made.args[0])) < 300_000
        assert made.args[0][-1] == "[980 characters left out]"
        assert made.causes == {"password": "***", "number": 7}

    def test_holds_no_secret_in_its_unsearched_part(self):
        error = ValueError({"log": "word " * 4_000 + " xoxb-123456789012-abcdefghijkl " + " word" * 4_000})
        assert "xoxb" not in str(redacted(error))

    def test_is_replaced_by_a_stand_in_if_its_class_builds_the_text(self, monkeypatch):
        class Verbose(Exception):
            def __str__(self):
                return f"{PAIR} " * 100_000

        looked_at = []
        whole = text_module.redact_whole

        def watched(text, **more):
            looked_at.append(len(text))
            return whole(text, **more)

        monkeypatch.setattr(text_module, "redact_whole", watched)
        monkeypatch.setattr(exceptions_module, "redact_whole", watched)
        made = redacted(Verbose())
        assert type(made) is ResilienceError
        assert "Verbose: password=***" in str(made)
        assert max(looked_at) < 1_000_000
