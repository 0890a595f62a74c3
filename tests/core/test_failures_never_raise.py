"""Classification terminates and never raises, whatever the error is like."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_tasks import Kind, classify
from resilient_tasks.core.failures import about, describe, http_failure, retry_after, status_of
from tests.core.shapes import shaped

READ = (
    *(
        "response",
        "resp",
        "meta",
        "headers",
        "status",
        "status_code",
        "code",
        "type",
        "reason",
        "body",
        "data",
        "errors",
    ),
    *(
        "error",
        "details",
        "parameters",
        "retry_after",
        "retry_delay",
        "sqlstate",
        "pgcode",
        "errno",
        "sqlite_errorname",
    ),
    *("args", "orig", "last_attempt", "rcvd", "reply_code", "retryable", "is_retryable", "recipients", "smtp_code"),
    *("grpc_status_code", "trailing_metadata", "exceptions", "json_body", "content", "http_status", "strerror"),
)
LIBRARIES = (
    "acme.errors",
    "grpc._channel",
    "pymongo.errors",
    "clickhouse_driver.errors",
    "pymssql",
    "aiosmtplib.errors",
)
NAMES = (
    "Failed",
    "RpcError",
    "OperationalError",
    "ConnectionError",
    "SSLError",
    "HTTPError",
    "ResponseError",
    "RetryError",
)
NAMES += ("SerializationError", "Http503Error", "InvalidTimeout", "SlackResponse")


class Hostile:
    """Raises on every access."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __getitem__(self, key):
        raise RuntimeError(key)

    def __iter__(self):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    def __hash__(self):
        raise RuntimeError("no")

    def __bool__(self):
        raise RuntimeError("no")

    def __index__(self):
        raise RuntimeError("no")

    def __float__(self):
        raise RuntimeError("no")

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__

    def __call__(self):
        raise RuntimeError("no")


def raises(*_):
    raise RuntimeError("no")


class OddDict(dict):
    get = items = keys = values = __getitem__ = __iter__ = raises


class OddText(str):
    __slots__ = ()
    lower = strip = partition = split = __len__ = raises


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([400, 429, 503, 1205, 99, 600, 10**400, -1]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["503", "40001", "throttled", "{", "[1", "1e999", "9" * 40, "Fri, 27 Nov 99999 12:00:00 GMT"]),
    st.binary(max_size=20),
    st.builds(Hostile),
    st.builds(OddDict, st.just({"code": 1})),
    st.just(OddText("503")),
    st.just(raises),
    st.builds(ConnectionError),
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from([*READ, "Error", "Code", "ResponseMetadata"]), inner, max_size=3),
        st.dictionaries(st.sampled_from(READ), inner, max_size=3).map(lambda held: SimpleNamespace(**held)),
        st.dictionaries(st.sampled_from(READ[:-4]), inner, max_size=2).map(
            lambda held: shaped("acme.Inner", **{name: value for name, value in held.items() if name != "args"})
        ),
    ),
    max_leaves=6,
)


@st.composite
def errors(draw):
    name = f"{draw(st.sampled_from(LIBRARIES))}.{draw(st.sampled_from(NAMES))}"
    base = draw(st.sampled_from([Exception, OSError, ValueError, ConnectionError, TimeoutError, EOFError]))
    held = draw(st.dictionaries(st.sampled_from(READ), values, max_size=4))
    args = held.pop("args", ("no",))
    error = shaped(name, base, args=args if type(args) is tuple else (args,))
    vars(error).update(held)
    return error


@given(errors())
@settings(max_examples=150, deadline=None)
def test_any_error_can_be_classified(error):
    assert isinstance(classify(error), Kind)
    assert status_of(error) is None or 100 <= status_of(error) < 600
    wait = retry_after(error)
    assert wait is None or 0.0 <= wait <= 3600.0
    assert http_failure(error) is None or http_failure(error) >= 300
    assert isinstance(describe(error), str)
    assert about(error)["kind"] == classify(error).value


ODD = (
    Hostile(),
    OddDict(code=1),
    OddText("503"),
    raises,
    [Hostile()],
    SimpleNamespace(code=Hostile(), data=Hostile(), headers=Hostile(), status=Hostile()),
    {"Error": {"Code": Hostile()}, "error": Hostile(), "code": OddText("x"), "ResponseMetadata": Hostile()},
)


@pytest.mark.parametrize("name", [name for name in READ if name != "args"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_an_attribute_of_the_wrong_type_raises_nothing(library, name):
    for odd in ODD:
        error = shaped(f"{library}.ConnectError")
        vars(error)[name] = odd
        assert isinstance(classify(error), Kind)
        assert status_of(error) in {None, 503}
        assert retry_after(error) in {None, 503.0}
        assert "ConnectError" in describe(error)


@pytest.mark.parametrize("name", [name for name in READ if name != "args"])
def test_a_property_that_raises_hides_nothing(name):
    def asked(_):
        raise RuntimeError(name)

    cls = type(
        "ConnectError", (Exception,), {"__module__": "acme.errors", name: property(asked)} if name != "args" else {}
    )
    cls.__module__ = "acme.errors"
    assert classify(cls("refused")) is Kind.TRANSIENT
    assert status_of(cls("refused")) is None
    assert retry_after(cls("refused")) is None


class TestCycles:
    def test_errors_that_wrap_each_other(self):
        one, other = shaped("acme.One"), shaped("acme.Other")
        one.__cause__, other.inner, other.__cause__ = other, one, one
        assert classify(one) is Kind.PERMANENT

    def test_a_long_chain(self):
        error = ConnectionResetError()
        for _ in range(5000):
            error = shaped("acme.Failed", cause=error)
        assert classify(error) is Kind.PERMANENT
        assert status_of(error) is None

    def test_many_errors_in_each_of_many(self):
        error = shaped("acme.Deep")
        for _ in range(12):
            error = shaped("acme.Many", errors=[error] * 8, others=[shaped("acme.Few", errors=[error])] * 8)
        assert classify(error) is Kind.PERMANENT

    def test_a_body_that_contains_itself(self):
        held = {"type": 1}
        held["error"] = held["errors"] = held
        assert classify(shaped("acme.ApiError", body=held)) is Kind.PERMANENT
