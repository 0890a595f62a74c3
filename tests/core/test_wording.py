"""Parts of messages."""

import functools

import pytest

from resilient_tasks import resilient
from resilient_tasks.core.pipeline import operation_of
from resilient_tasks.core.wording import counted, in_brief, label, name_of, named_few, number_of, short_name_of


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (11, "11 rows"), (12_000, "12,000 rows")]
)
def test_a_count_has_its_noun_in_the_right_number(count, words):
    assert number_of(count, "row") == words


def test_a_noun_may_have_an_irregular_plural():
    assert [number_of(count, "batch", "batches") for count in (1, 2)] == ["1 batch", "2 batches"]


def test_many_names_are_cut_to_the_first_few_and_a_count():
    assert named_few(["a", "b"], 2) == "a, b"
    assert named_few(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_failures_are_counted_by_status_or_type():
    assert counted({"HTTP 503": 2, "TimedOut": 1}) == "HTTP 503 ×2, TimedOut"
    assert (label("HTTPStatusError", 503), in_brief("HTTPStatusError", 503)) == (
        "HTTPStatusError (HTTP 503)",
        "HTTP 503",
    )
    assert (label("ConnectError", None), in_brief("ConnectError", None)) == ("ConnectError", "ConnectError")


class Client:
    def fetch(self):
        def nested():
            pass

        return nested

    @classmethod
    def made(cls):
        pass

    def __call__(self):
        pass


def fetch(_month):
    pass


double = lambda x: 2 * x  # noqa: E731  # what the test is about


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (fetch, "fetch"),
        (Client.fetch, "Client.fetch"),
        (Client().fetch, "Client.fetch"),
        (Client.made, "Client.made"),
        (Client().fetch(), "nested"),
        (Client(), "Client"),
        (functools.partial(fetch, "2013-07"), "fetch"),
        (functools.partial(functools.partial(Client().fetch)), "Client.fetch"),
        (functools.partial(Client()), "Client"),
        (len, "len"),
        (Client, "Client"),
    ],
)
def test_a_callable_has_a_readable_name(fn, name):
    assert name_of(fn) == name
    assert operation_of(fn) == name


def test_a_lambda_is_named_by_its_place():
    line = double.__code__.co_firstlineno
    assert name_of(double) == name_of(functools.partial(double, 1)) == f"lambda at test_wording:{line}"


def test_events_name_a_lambda_by_its_place(resilient_events):
    fails = resilient(fallback=lambda: 0)(lambda: {}["missing"])
    with pytest.raises(KeyError):
        fails()
    (failed,) = resilient_events.named("call.failed")
    assert failed.operation == name_of(fails.__wrapped__)
    assert "<" not in failed.operation


def test_a_short_name_omits_the_class_of_a_method():
    assert [short_name_of(fn) for fn in (Client.fetch, fetch, str.upper)] == ["fetch", "fetch", "upper"]


def test_a_wrapped_lambda_in_a_class_is_named_by_its_place_too():
    class Lazy:
        load = lambda self: 1  # noqa: E731  # as newcomers write

    assert name_of(Lazy().load).startswith("lambda at test_wording:")
