"""A message that quotes a secret from the error's own attributes does not reach an event."""

import argparse
from dataclasses import make_dataclass

import pytest

from resilient_tasks import Retry, resilient
from resilient_tasks.core.events import bus
from resilient_tasks.core.failures import describe, fields_of
from resilient_tasks.redaction.exceptions import redacted
from resilient_tasks.redaction.text import redact

SECRET = "Tr0ub4dor-9x"


def bearing(text, **attributes):
    error = ValueError(text)
    vars(error).update(attributes)
    return error


def noted(text, note):
    error = ValueError(text)
    error.add_note(note)
    return error


ERRORS = [
    bearing(f"login refused for ann with {SECRET}", password=SECRET),
    bearing(f"{SECRET!r} is too weak", field="password", value=SECRET),
    bearing(f"cannot cast {SECRET!r}", column_name="api_key", bad_value=SECRET),
    bearing(f"{SECRET!r} rejected", errors=[{"loc": ("body", "client_secret"), "input": SECRET}]),
    bearing(f"{SECRET!r}: not a valid integer", data={"name": "ann", "password": SECRET}),
    bearing(f"no login with {SECRET}", config=make_dataclass("Config", ["user", "password"])("ann", SECRET)),
    bearing(f"no login with {SECRET}", config=argparse.Namespace(user="ann", auth_token=SECRET)),
    bearing(f"{SECRET!r} is no key", param_hint="--password", message=f"{SECRET!r} is no key"),
    bearing(f"failed with {SECRET}", sql="UPDATE u SET password = ? WHERE id = ?", params=(SECRET, 7)),
    noted(f"invalid literal for int() with base 10: {SECRET!r}", f"while reading password={SECRET}"),
    ValueError("execution failed", "UPDATE u SET password = :p WHERE id = :i", {"p": SECRET, "i": 7}),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_an_event_does_not_quote_a_secret_that_an_attribute_identifies(error):
    assert SECRET not in redact(fields_of(error)["message"])
    assert SECRET not in describe(error)
    copy = redacted(error)
    assert copy is not None
    assert SECRET not in f"{copy!r} {vars(copy)}"


def test_a_failed_call_reports_its_error_without_the_secret():
    events = []

    @resilient(retry=Retry(attempts=2, wait=0))
    def load():
        raise ERRORS[0]

    with bus.listening(events.append), pytest.raises(ValueError, match="login refused"):
        load()
    assert any("login refused for ann with ***" in str(event.as_dict()) for event in events)
    assert not any(SECRET in f"{event.as_dict()} {event.sentence()}" for event in events)


def test_a_secret_that_is_a_word_is_redacted_only_in_quotes():
    error = bearing("'tiger' was refused: ask for the tiger", password="tiger")
    assert fields_of(error)["message"] == "'***' was refused: ask for the tiger"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no answer"),
        bearing("'ann' is unknown", name="password", user="ann"),
        bearing("'x7' is no option of password", field="password"),
        bearing("object has no attribute 'password'", name="password"),
        bearing("it has 118 rows", rows=118, token=None),
        ValueError("execution failed", "SELECT 1 WHERE name = :n", {"n": "flights-2013"}),
    ],
    ids=str,
)
def test_a_message_without_such_a_value_stays(error):
    assert fields_of(error)["message"] == str(error)
    assert redacted(error) is None
