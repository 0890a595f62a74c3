"""Errors of well-known libraries: secrets beside a name, in statements and in commands are redacted."""

import subprocess
import traceback
from collections import deque

import cloudpickle
import pytest
import sqlalchemy as sa
from pydantic import BaseModel, Field, ValidationError

from resilient_tasks.core.failures import describe
from resilient_tasks.redaction.exceptions import redacted
from resilient_tasks.redaction.sql_parameters import names_of, redact_parameters
from resilient_tasks.redaction.text import redact
from resilient_tasks.redaction.values import clean

SECRET = "hunter2-Xy"


def assert_clean(error, *stays):
    made = redacted(error)
    assert made is not None
    shown = "".join(traceback.format_exception(made)) + repr(made)
    assert SECRET not in shown
    assert SECRET.encode() not in cloudpickle.dumps(made)
    assert all(word in shown for word in stays), shown
    return made


@pytest.fixture
def run():
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(sa.text("create table users (name text unique, password text, n int)"))
        connection.execute(sa.text("insert into users values ('bob', 'x', 1)"))

    def fails(statement, parameters=None):
        with pytest.raises(sa.exc.StatementError) as caught, engine.begin() as connection:
            connection.execute(statement, parameters)
        return caught.value

    return fails


USERS = sa.table("users", sa.column("name"), sa.column("password"), sa.column("n"))
ROW = {"name": "bob", "password": SECRET, "n": 7}


@pytest.mark.parametrize(
    ("statement", "parameters", "stays"),
    [
        (sa.insert(USERS), ROW, ["'bob'", "7"]),
        (sa.insert(USERS), [ROW, {**ROW, "name": "ann"}], ["'bob'", "'ann'"]),
        (sa.text("insert into users (name, password) values (:a, :b)"), {"a": "bob", "b": SECRET}, ["'bob'"]),
        (sa.text("insert into users values (:a, :b, 1)"), {"a": "bob", "b": SECRET}, []),
        (sa.text("select nothing(:a) from users where password = :b"), {"a": SECRET, "b": SECRET}, []),
        (sa.text("update users set name = :a, password = :b"), {"a": "x", "b": SECRET}, []),
    ],
)
def test_the_parameters_of_a_statement_are_redacted_by_their_columns(run, statement, parameters, stays):
    if str(statement).startswith("update"):
        statement = sa.text(str(statement).replace("users", "nowhere"))
    error = run(statement, parameters)
    made = assert_clean(error, *stays)
    assert type(made) is type(error)
    assert SECRET not in redact(str(error))
    assert SECRET not in describe(error)


def test_a_statement_without_a_secret_needs_no_copy(run):
    assert redacted(run(sa.text("insert into users (name, n) values (:a, :b)"), {"a": "bob", "b": 1})) is None


def test_a_text_of_an_unknown_column_is_redacted_and_a_number_stays():
    assert redact_parameters(None, ("bob", 7)) == ("***", 7)
    assert redact_parameters("select * from t where n = ?", ("bob",)) == ("bob",)
    assert redact_parameters("call login(%(a)s, %(password)s)", {"a": 1, "password": "x"}) == {
        "a": 1,
        "password": "***",
    }


@pytest.mark.parametrize(
    ("statement", "columns"),
    [
        ("INSERT INTO t (a, b) VALUES (?, ?), (?, ?)", ["a", "b", "a", "b"]),
        ("SELECT * FROM t WHERE a = %s AND b IN (%s, %s) LIMIT %s", ["a", "b", "b", "b"]),
        ("UPDATE t SET a = $1, b = $2 WHERE c >= $3", ["a", "b", "c"]),
        ("SELECT f(?, ?)", [None, None]),
        ("SELECT * FROM t WHERE lower(a) = lower(:x) AND note = 'b = ?'", ["a"]),
    ],
)
def test_a_placeholder_belongs_to_a_column(statement, columns):
    assert [column for _, column in names_of(statement)] == columns


def test_a_numbered_placeholder_takes_the_parameter_of_its_number():
    statement = "UPDATE users SET password = $2, name = $1 WHERE id = $3 AND name <> $1"
    assert redact_parameters(statement, ("bob", SECRET, 3)) == ("bob", "***", 3)


def test_the_output_of_a_command_may_repeat_a_short_flag_with_its_secret():
    error = subprocess.CalledProcessError(1, ["mysql", "-u", "root", f"-p{SECRET}"], output=f"ran -p{SECRET}".encode())
    assert SECRET.encode() not in redacted(error).output


class Login(BaseModel):
    user: str
    password: str = Field(max_length=3)


def validation_error(**values):
    with pytest.raises(ValidationError) as caught:
        Login(**values)
    return caught.value


@pytest.mark.parametrize(
    "values", [{"user": "bob", "password": SECRET}, {"password": SECRET}, {"password": SECRET * 9}]
)
def test_the_inputs_of_a_model_are_redacted_by_field_name(values):
    error = validation_error(**values)
    assert_clean(error, "string_too_long", "password")
    for text in (str(error), error.json(), repr(error.errors())):
        assert SECRET not in redact(text)
    assert SECRET not in repr(clean(error.errors()))


def test_the_input_of_a_harmless_field_stays():
    assert "input_value=5" in redact(str(validation_error(user=5, password="abc")))


@pytest.mark.parametrize(
    "command",
    [
        ["mysql", "-u", "root", f"-p{SECRET}"],
        ["curl", "-u", f"bob:{SECRET}", "http://h"],
        ["load", "--password", SECRET],
        ["load", f"--token={SECRET}"],
        ["env", f"DB_PASSWORD={SECRET}", "load"],
        ["curl", "-H", f"X-Api-Key: {SECRET}"],
        f"mysql -p{SECRET} flights",
    ],
)
def test_a_failed_command_keeps_all_words_except_the_secret(command):
    stderr = f"cannot use {SECRET}".encode()
    error = subprocess.CalledProcessError(3, command, output=b"out", stderr=stderr)
    made = assert_clean(error, "exit status 3")
    assert type(made) is subprocess.CalledProcessError
    assert (made.returncode, made.output) == (3, b"out")
    assert made.cmd[0] == command[0]
    assert type(assert_clean(subprocess.TimeoutExpired(command, 3))) is subprocess.TimeoutExpired


class Refused(Exception):
    def __init__(self, text, **held):
        super().__init__(text)
        vars(self).update(held)


@pytest.mark.parametrize(
    "error",
    [
        Refused(f"{SECRET!r} is too short", path=deque(["login", "password"]), instance=SECRET),
        Refused(f"bad: {SECRET}", password=SECRET),
        Refused("no", sql="insert into t (a, api_key) values (?, ?)", params=("x", SECRET)),
        Refused("no", environment=[{"name": "DB_PASSWORD", "value": SECRET}]),
        Refused("no", errors=[{"loc": ("body", "password"), "input": SECRET}]),
        Refused("no", cmd=["sshpass", "-p", SECRET, "ssh"]),
    ],
)
def test_a_value_beside_a_name_is_redacted_in_the_whole_error(error):
    assert type(assert_clean(error)) is Refused


@pytest.mark.parametrize(
    "text",
    [
        f"Key (name, password)=(bob, {SECRET}) already exists.",
        f"Duplicate entry '{SECRET}' for key 'users.password'",
        f"argument --password: invalid int value: '{SECRET}'",
        f"Invalid type for parameter SecretString, value: {SECRET}, type: <class 'str'>",
        f"On instance['login']['password']:\n    '{SECRET}'",
    ],
)
def test_messages_that_quote_a_value_with_its_name_are_recognised(text):
    assert SECRET not in redact(text)


def test_quoted_values_of_harmless_names_stay():
    for text in ("Key (carrier, flight)=(UA, 1545) already exists.", "Duplicate entry 'UA' for key 'flights.PRIMARY'"):
        assert redact(text) is text


def test_an_item_of_a_command_is_redacted_including_blanks():
    assert clean(["load", "auth_token=two words", "rows=3"]) == ["load", "auth_token=***", "rows=3"]
    assert clean(["sshpass", "-p", "two words", "ssh"]) == ["sshpass", "-p", "***", "ssh"]


def test_a_value_that_begins_with_b_is_redacted_whole():
    text = "Duplicate entry 'b4711-{}' for key 'users.password'"
    assert redact(text.format("xyz")) == text.replace("b4711-{}", "***")
