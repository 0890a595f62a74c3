"""Errors of real libraries with a secret in them, raised as users meet them, for part (b).

Each function takes the name of a field or column, and the secret.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Annotated, Any

import httpx
import pydantic
import requests
import sqlalchemy
from sqlalchemy import orm


def _execute(statement: str, parameters: Any) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement), parameters)


def _raw(statement: str, parameters: Any) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement, parameters)


def _unique(name: str, secret: str) -> None:
    table = sqlalchemy.Table(
        *("users", sqlalchemy.MetaData()),
        *(sqlalchemy.Column("name", sqlalchemy.String, primary_key=True), sqlalchemy.Column(name, sqlalchemy.String)),
    )
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        table.create(connection)
        for _ in range(2):
            connection.execute(table.insert(), [{"name": "bob", name: secret}, {"name": "ann", name: "x" + secret}])


def _orm(name: str, secret: str) -> None:
    class Base(orm.DeclarativeBase):
        pass

    made: Any = type(
        "User",
        (Base,),
        {
            "__tablename__": "users",
            "id": orm.mapped_column(sqlalchemy.Integer, primary_key=True),
            name: orm.mapped_column(sqlalchemy.String),
        },
    )
    with orm.Session(sqlalchemy.create_engine("sqlite://")) as session:
        session.add(made(**{"id": 12, name: secret}))
        session.commit()


def _in_update(name: str, secret: str) -> None:
    users = sqlalchemy.table("users", sqlalchemy.column("id"), sqlalchemy.column(name))
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.execute(users.update().where(users.c.id == 12).values({name: secret}))


def _in_where(name: str, secret: str) -> None:
    users = sqlalchemy.table("users", sqlalchemy.column("id"), sqlalchemy.column(name))
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.execute(users.select().where(users.c[name] == secret))


_Short = Annotated[str, pydantic.Field(max_length=2)]


def _field(name: str, secret: str) -> None:
    pydantic.create_model("Settings", **{name: (_Short, ...)}).model_validate({name: secret})


def _number(name: str, secret: str) -> None:
    pydantic.create_model("Settings", user=(str, ...), **{name: (int, ...)})(user="bob", **{name: f"x{secret}"})


def _nested(name: str, secret: str) -> None:
    inner = pydantic.create_model("Inner", **{name: (_Short, ...)})
    outer = pydantic.create_model("Outer", db=(list[inner], ...))
    outer.model_validate({"db": [{"user": "bob", name: secret}]})


def _missing_beside(name: str, secret: str) -> None:
    pydantic.create_model("Settings", host=(str, ...), **{name: (str, ...)}).model_validate({name: secret})


def _aliased(name: str, secret: str) -> None:
    field = pydantic.Field(alias=name, max_length=2)
    pydantic.create_model("Settings", value=(str, field)).model_validate({name: secret})


def _in_dict(name: str, secret: str) -> None:
    pydantic.create_model("Settings", headers=(dict[str, int], ...)).model_validate({"headers": {name: f"x{secret}"}})


def _in_json(name: str, secret: str) -> None:
    pydantic.create_model("Settings", **{name: (_Short, ...)}).model_validate_json(json.dumps({name: secret}))


def _extra(name: str, secret: str) -> None:
    config = pydantic.ConfigDict(extra="forbid")
    pydantic.create_model("Settings", __config__=config, user=(str, ...)).model_validate({"user": "bob", name: secret})


def _run(*command: str, **options: Any) -> None:
    subprocess.run([sys.executable, "-c", "import sys; sys.exit(3)", *command], check=True, **options)


def _output(name: str, secret: str) -> None:
    program = "import sys; print(sys.argv[1]); sys.exit(3)"
    command = [sys.executable, "-c", program, f"{name}={secret}"]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _too_slow(*command: str) -> None:
    raise subprocess.TimeoutExpired([*command, "x"], 0.1, output=b"nothing")


def _answer(name: str, secret: str) -> httpx.Response:
    request = httpx.Request("GET", "http://127.0.0.1/x", params={"page": 2, name: secret}, headers={"X-Api-Key": "x"})
    return httpx.Response(503, request=request, json={"error": "busy"})


def _sent(secret: str) -> httpx.Response:
    request = httpx.Request("POST", "http://127.0.0.1/x", headers={"Authorization": f"Bearer {secret}"})
    return httpx.Response(401, request=request, headers={"Set-Cookie": f"session={secret}"})


def _requests(prepared: requests.PreparedRequest) -> None:
    answer = requests.Response()
    answer.status_code, answer.url, answer.request = 500, str(prepared.url), prepared
    answer.raise_for_status()


def _closed() -> int:
    """Return a port of this machine without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class ClientError(Exception):
    """An error as botocore makes it, with the whole response as an attribute."""

    def __init__(self, response: dict[str, Any], operation: str) -> None:
        super().__init__(
            f"An error occurred ({response['Error']['Code']}) when calling {operation}: {response['Error']}"
        )
        self.response, self.operation_name = response, operation


class OperationalError(Exception):
    """An error as psycopg makes it."""


def _raise(error: BaseException) -> None:
    raise error


def _chained(name: str, secret: str) -> None:
    try:
        raise ConnectionError(f"no answer: {name}={secret}")
    except ConnectionError as error:
        wrapped = RuntimeError("the load failed")
        wrapped.add_note(f"it was { ({name: secret})!r}")
        raise wrapped from error


def _hanging(name: str, secret: str) -> None:
    error = ValueError("wrong settings")
    error.settings = {"user": "bob", name: [secret], "inner": {name: secret}}  # type: ignore[attr-defined]
    raise error


def _grouped(name: str, secret: str) -> None:
    raise ExceptionGroup("both failed", [ValueError(f"{name}={secret!r}"), KeyError({name: secret})])


#: The letters and digits that URLs and headers hold unescaped.
MACHINE_MADE: dict[str, Callable[[str, str], Any]] = {
    "httpx, status": lambda name, secret: _answer(name, secret).raise_for_status(),
    "httpx, header": lambda _, secret: _sent(secret).raise_for_status(),
    "httpx, no connection": lambda name, secret: httpx.get(
        f"http://127.0.0.1:{_closed()}/?{name}={secret}", trust_env=False
    ),
    "requests, status": lambda name, secret: _requests(
        requests.Request("GET", "http://127.0.0.1/x", params={"page": 2, name: secret}).prepare()
    ),
    "requests, header": lambda _, secret: _requests(
        requests.Request("GET", "http://127.0.0.1/x", headers={"X-Auth-Token": secret}).prepare()
    ),
    "requests, no connection": lambda name, secret: requests.get(
        f"http://127.0.0.1:{_closed()}/x?{name}={secret}", timeout=1, proxies={"http": ""}
    ),
    "urllib": lambda name, secret: urllib.request.urlopen(f"gopher://127.0.0.1/?{name}={secret}", timeout=1),
    "urllib, status": lambda name, secret: _raise(
        urllib.error.HTTPError(f"http://127.0.0.1/x?{name}={secret}", 500, "oops", {}, None)  # type: ignore[arg-type]
    ),
    "CalledProcessError, curl": lambda _, secret: _raise(
        subprocess.CalledProcessError(22, ["curl", "-u", f"bob:{secret}", "http://127.0.0.1/x"])
    ),
    "CalledProcessError, header": lambda _, secret: _run("curl", "-H", f"Authorization: Bearer {secret}"),
    "CalledProcessError, shell": lambda _, secret: _raise(
        subprocess.CalledProcessError(1, f"mysql -ubob -p{secret} flights")
    ),
    "CalledProcessError, URL": lambda _, secret: _run("pg_dump", f"postgresql://bob:{secret}@db/flights"),
    "psycopg, URL": lambda _, secret: _raise(
        OperationalError(f"connection to postgresql://bob:{secret}@db:5432/x failed")
    ),
    "requests, scheme": lambda _, secret: requests.get(f"postgresql://bob:{secret}@db/flights", timeout=1),
    "UnicodeDecodeError": lambda name, secret: (
        json.dumps({"user": "bob", name: f"{secret}ÿ"}, ensure_ascii=False).encode("latin-1").decode()
    ),
    "asyncpg, DSN": lambda _, secret: _raise(ValueError(f"invalid DSN: 'postgres://bob:{secret}@db:port/x'")),
}
ANY: dict[str, Callable[[str, str], Any]] = {
    "SQLAlchemy, dict": lambda name, secret: _execute(
        f"INSERT INTO users (id, {name}) VALUES (:id, :{name})", {"id": 12, name: secret}
    ),
    "SQLAlchemy, executemany": lambda name, secret: _execute(
        f"INSERT INTO users (id, {name}) VALUES (:id, :{name})",
        [{"id": 12, name: secret}, {"id": 13, name: f"x{secret}"}],
    ),
    "SQLAlchemy, tuple": lambda name, secret: _raw(f"INSERT INTO users (id, {name}) VALUES (?, ?)", (12, secret)),
    "SQLAlchemy, tuples": lambda name, secret: _raw(
        f"INSERT INTO users ({name}, id) VALUES (?, ?)", [(secret, 12), (f"x{secret}", 13)]
    ),
    "SQLAlchemy, own names": lambda name, secret: _execute(
        f"UPDATE users SET {name} = :p WHERE id = :id", {"p": secret, "id": 12}
    ),
    "SQLAlchemy, where": lambda name, secret: _execute(
        f"SELECT * FROM users WHERE id = :i AND {name} = :q", {"q": secret, "i": 12}
    ),
    "SQLAlchemy, update": _in_update,
    "SQLAlchemy, select": _in_where,
    "SQLAlchemy, unique": _unique,
    "SQLAlchemy, ORM": _orm,
    "pydantic, field": _field,
    "pydantic, number": _number,
    "pydantic, nested": _nested,
    "pydantic, missing": _missing_beside,
    "pydantic, alias": _aliased,
    "pydantic, dict": _in_dict,
    "pydantic, JSON": _in_json,
    "pydantic, extra": _extra,
    "CalledProcessError, -p": lambda _, secret: _raise(
        subprocess.CalledProcessError(1, ["mysql", "-ubob", f"-p{secret}", "x"])
    ),
    "CalledProcessError, flag": lambda name, secret: _run(f"--{name}", secret),
    "CalledProcessError, =": lambda name, secret: _run(f"--{name.replace('_', '-')}={secret}"),
    "CalledProcessError, sshpass": lambda _, secret: _raise(
        subprocess.CalledProcessError(1, ["sshpass", "-p", secret, "ssh", "db"])
    ),
    "CalledProcessError, env": lambda name, secret: _run(f"{name.upper()}={secret}"),
    "CalledProcessError, output": _output,
    "TimeoutExpired, flag": lambda name, secret: _too_slow("run", f"--{name}", secret),
    "TimeoutExpired, -p": lambda _, secret: _too_slow("mysqldump", "-u", "bob", f"-p{secret}"),
    "TimeoutExpired, env": lambda name, secret: _too_slow("docker", "run", "-e", f"{name.upper()}={secret}"),
    "KeyError": lambda name, secret: _raise(KeyError({"user": "bob", name: secret})),
    "ValueError, dict": lambda name, secret: _raise(ValueError(f"wrong settings { ({'user': 'bob', name: secret})!r}")),
    "ValueError, args": lambda name, secret: _raise(
        ValueError("wrong settings", {name: secret}, [("user", "bob"), (name, secret)])
    ),
    "ValueError, attribute": _hanging,
    "cause and note": _chained,
    "group": _grouped,
    "botocore, answer": lambda _, secret: _raise(
        ClientError({"Error": {"Code": "Throttling"}, "Credentials": {"SecretAccessKey": secret}}, "AssumeRole")
    ),
    "botocore, parameters": lambda name, secret: _raise(
        ClientError({"Error": {"Code": "ValidationException", "Params": {"Name": "x", name: secret}}}, "CreateUser")
    ),
    "botocore, name and value": lambda name, secret: _raise(
        ClientError(
            {"Error": {"Code": "Invalid", "Parameters": [{"ParameterKey": name, "ParameterValue": secret}]}}, "Create"
        )
    ),
    "JSON": lambda name, secret: json.loads(json.dumps({name: secret}) + "}"),
    "psycopg, conninfo": lambda _, secret: (
        _raise(OperationalError(f"invalid connection option in \"host=db password='{secret}'\""))
        if not set(secret) & {"'", "\\"}
        else _raise(OperationalError(f"user=bob password={secret!r}"))
    ),
}
