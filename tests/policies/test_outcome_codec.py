"""What waiting workers read of an outcome that another worker has written."""

import json
import pickle

import pytest

from resilient_tasks import CircuitOpen, Degraded, Failed, Kind, Ok, ResilienceError, TimedOut
from resilient_tasks.core.errors import ENDED_BY
from resilient_tasks.core.failures import judge
from resilient_tasks.policies.single_flight.outcome_codec import CannotBeSent, decode, encode
from resilient_tasks.safely import mark, marked

STAND_IN = {"fallback": "the last good result", "age": 60.0, "since": 3.0}


def sent(outcome, serializer="json", largest=10_000):
    return decode(encode(outcome, "call 7", STAND_IN, serializer, largest), serializer)


class Busy(Exception):
    status_code = 429

    def __init__(self, code):
        super().__init__(code)
        self.headers = {"Retry-After": "7"}

    def __str__(self):
        return f"busy, password=hunter2 ({self.args[0]})"


class Odd(Exception):
    pass


class Lines:
    """Stands for a user's serializer, for lists of words."""

    @staticmethod
    def dumps(value):
        return bytearray(" ".join(value).encode())

    @staticmethod
    def loads(data):
        return data.decode().split(" ")


@pytest.mark.parametrize(
    ("value", "serializer"),
    [
        (None, "json"),
        ({"rows": [1, 2.5, True, None, "é\n"], "more": {"a": []}}, "json"),
        ((1, b"2\n"), "pickle"),
        (["a", "b"], Lines()),
        ({1, 2}, pickle),
    ],
)
def test_a_value_is_the_same_for_all_workers(value, serializer):
    got = sent(Ok(value, 3), serializer)
    assert (got.outcome.value, got.outcome.attempts, got.leader, got.stand_in) == (value, 3, "call 7", STAND_IN)
    got = sent(Degraded(value, KeyError("x")), serializer)
    assert (got.outcome.value, got.leader, got.stand_in) == (value, "call 7", STAND_IN)
    assert (type(got.outcome.because), got.outcome.because.args) == (KeyError, ("x",))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ((1,), "JSON cannot hold a tuple; where all who write to the store are trusted, SingleFlight"),
        ([{"a": [1, {2}]}], "JSON cannot hold a set;"),
        ({"a": {1: 2}}, "JSON cannot hold a dict with keys that are not strings;"),
        (Busy(1), "JSON cannot hold a .*test_outcome_codec.Busy;"),
    ],
)
def test_a_value_that_json_would_change_is_not_sent(value, why):
    with pytest.raises(CannotBeSent, match=why):
        sent(Ok(value))


def test_a_value_that_a_serializer_cannot_convert_is_not_sent():
    with pytest.raises(CannotBeSent, match=r"an int cannot be sent \(.*iterable"):
        sent(Ok(3), Lines())
    with pytest.raises(CannotBeSent, match="cannot be sent"):
        sent(Ok(lambda: (_ for _ in ())), pickle)


def test_an_outcome_is_sent_up_to_the_largest_size():
    size = len(encode(Ok("x" * 1000), "call 7", STAND_IN, "json", 10_000))
    assert sent(Ok("x" * 1000), largest=size).outcome.value == "x" * 1000
    with pytest.raises(
        CannotBeSent, match=rf"its outcome has {size:,} bytes, more than .*largest={size - 1:,}\) allows"
    ):
        sent(Ok("x" * 1000), largest=size - 1)


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b"{}", b'{"is":"ok"}\n', b'{"is":"failed"}', b"null\n1"])
def test_bytes_that_no_worker_has_written_are_refused(data):
    with pytest.raises(CannotBeSent, match="the other worker's outcome cannot be read here"):
        decode(data, "json")


def test_an_error_that_python_defines_crosses_with_its_arguments_and_notes():
    error = ConnectionError("refused", 7)
    error.add_note("gave up after attempt 3")
    mark(error, ENDED_BY, "retry")
    got = sent(Failed(error)).outcome.error
    assert (type(got), got.args, got.__notes__) == (ConnectionError, ("refused", 7), ["gave up after attempt 3"])
    assert marked(got, ENDED_BY) == "retry"
    assert marked(sent(Failed(KeyError())).outcome.error, ENDED_BY) is None


@pytest.mark.parametrize(
    "error", [ConnectionError(b"bytes"), Busy(3), CircuitOpen("api is open", name="api"), TimedOut("x")]
)
def test_any_other_error_crosses_as_a_text_that_names_it_and_stays_of_its_kind(error):
    got = sent(Failed(error)).outcome.error
    assert type(got) is ResilienceError
    assert f"{type(error).__module__}.{type(error).__qualname__}: ".removeprefix("builtins.") in str(got)
    assert "hunter2" not in str(got)
    assert judge(got)[:3] == judge(error)[:3]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_an_error_without_its_secret_is_still_throttled_and_asks_to_wait(serializer):
    got = sent(Failed(Busy(3)), serializer).outcome.error
    assert judge(got)[:3] == (Kind.THROTTLED, 429, 7.0)
    assert "hunter2" not in str(got)


def test_with_pickle_an_error_keeps_its_type():
    got = sent(Failed(Odd(3)), "pickle").outcome.error
    assert (type(got), got.args) == (Odd, (3,))
    head = encode(Failed(Odd(3)), "call 7", STAND_IN, "json", 10_000).partition(b"\n")[0]
    assert "pickled" not in json.loads(head)  # nothing is unpickled unless that is asked for


def test_a_type_that_a_writer_invents_is_not_looked_up():
    head = json.loads(encode(Failed(KeyError("x")), "call 7", {}, "json", 10_000))
    for invented in ("eval", "print", "KeyboardInterrupt", "SystemExit", "nothing"):
        got = decode(json.dumps({**head, "type": invented}).encode(), "json").outcome.error
        assert type(got) is ResilienceError
