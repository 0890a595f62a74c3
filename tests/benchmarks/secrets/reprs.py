"""Contexts of part (a): a named value as Python's own writers and those of common libraries write it."""

from __future__ import annotations

import argparse
import collections
import configparser
import dataclasses
import io
import json
import logging
import pprint
import shlex
import traceback
import types
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pydantic
import requests
import structlog
import yaml


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _dataclass(name: str, secret: str) -> str:
    return repr(dataclasses.make_dataclass("Config", ["user", _identifier(name)])("bob", secret))


def _pydantic(name: str, secret: str) -> str:
    return repr(
        pydantic.create_model("Config", user=(str, ...), **{_identifier(name): (str, ...)})(
            user="bob", **{name: secret}
        )
    )


def _named_tuple(name: str, secret: str) -> str:
    return repr(collections.namedtuple("Config", ["user", _identifier(name)])("bob", secret))  # noqa: PYI024  # as users do


def _config(name: str, secret: str) -> str:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser["db"] = {"user": "bob", name: secret}
    parser.write(text := io.StringIO())
    return text.getvalue()


def _logged(name: str, secret: str) -> str:
    return logging.LogRecord("x", 20, "x.py", 12, "login with %s", ({"user": "bob", name: secret},), None).getMessage()


def _with_locals(name: str, secret: str) -> str:
    program = f"def connect({_identifier(name)}):\n    rows = 12\n    raise ConnectionError('no')\n"
    names: dict[str, Any] = {}
    exec(compile(program, "x.py", "exec"), names)
    try:
        names["connect"](secret)
    except ConnectionError as error:
        inside = error.__traceback__ and error.__traceback__.tb_next
        report = traceback.TracebackException(type(error), error, inside, capture_locals=True)
        return "".join(report.format())
    raise AssertionError


def _httpx(name: str, secret: str) -> str:
    request = httpx.Request("POST", "https://example.org/x", params={"page": 2, name: secret})
    return f"error while requesting {request!r}"


def _requests(name: str, secret: str) -> str:
    prepared = requests.Request("GET", "https://example.org/x", params={"page": 2, name: secret}).prepare()
    return f"HTTPError: 500 Server Error: oops for url: {prepared.url}"


def _structlog(**options: Any) -> Callable[[str, str], str]:
    return lambda name, secret: structlog.dev.ConsoleRenderer(colors=False, **options)(
        None, "info", {"event": "login", "user": "bob", name: secret}
    )


def _event(renderer: Any) -> Callable[[str, str], str]:
    return lambda name, secret: renderer(None, "info", {"event": "login", "user": "bob", name: secret})


REPRS: dict[str, Callable[[str, str], str]] = {
    "dict": lambda name, secret: repr({"user": "bob", name: secret, "rows": 12}),
    "nested dict": lambda name, secret: repr({"db": [{"login": {"user": "bob", name: secret}}]}),
    "pprint": lambda name, secret: pprint.pformat({"user": "bob" * 30, name: secret}, width=500),
    "OrderedDict": lambda name, secret: repr(collections.OrderedDict([("user", "bob"), (name, secret)])),
    "defaultdict": lambda name, secret: repr(collections.defaultdict(str, {name: secret, "user": "bob"})),
    "mapping proxy": lambda name, secret: repr(types.MappingProxyType({name: secret})),
    "SimpleNamespace": lambda name, secret: repr(types.SimpleNamespace(user="bob", **{name: secret})),
    "argparse": lambda name, secret: repr(argparse.Namespace(user="bob", **{name: secret})),
    "dataclass": _dataclass,
    "named tuple": _named_tuple,
    "pydantic": _pydantic,
    "items": lambda name, secret: repr(list({"user": "bob", name: secret}.items())),
    "dict_items": lambda name, secret: repr({"user": "bob", name: secret}.items()),
    "keyword arguments": lambda name, secret: ", ".join(
        f"{key}={value!r}" for key, value in {"user": "bob", name: secret}.items()
    ),
    "KeyError": lambda name, secret: repr(KeyError({"user": "bob", name: secret})),
    "json": lambda name, secret: json.dumps({"user": "bob", name: secret}),
    "json, indented": lambda name, secret: json.dumps({"user": "bob", name: secret}, indent=2, ensure_ascii=False),
    "json, dense": lambda name, secret: json.dumps({name: secret, "user": "bob"}, separators=(",", ":")),
    "json, bytes": lambda name, secret: repr(json.dumps({name: secret, "user": "bob"}).encode()),
    "json in json": lambda name, secret: json.dumps({"body": json.dumps({"user": "bob", name: secret})}),
    "name and value": lambda name, secret: json.dumps([{"name": name, "value": secret}]),
    "value and name": lambda name, secret: json.dumps([{"value": secret, "name": name}]),
    "name and value, Python": lambda name, secret: repr({"name": name, "value": secret}),
    "key and value": lambda name, secret: json.dumps([{"key": name, "value": secret, "type": "text"}]),
    "yaml": lambda name, secret: yaml.safe_dump({"user": "bob", name: secret}, width=1000),
    "yaml in unicode": lambda name, secret: yaml.safe_dump({"db": {name: secret}}, width=1000, allow_unicode=True),
    "yaml, flow": lambda name, secret: yaml.safe_dump(
        {"user": "bob", name: secret}, width=1000, default_flow_style=True
    ),
    "yaml, quoted": lambda name, secret: yaml.safe_dump({"user": "bob", name: secret}, width=1000, default_style='"'),
    "yaml, block": lambda name, secret: yaml.safe_dump({"a": {name: secret}}, width=1000, default_style="|"),
    "configparser": _config,
    "urlencode": lambda name, secret: urlencode({"page": "2", name: secret, "user": "bob"}),
    "shlex.join": lambda name, secret: shlex.join(["run", f"--{name}", secret, "--user", "bob"]),
    "shlex.join with =": lambda name, secret: shlex.join(["run", f"--{name}={secret}", "--user", "bob"]),
    "command as a list": lambda name, secret: repr(["run", f"--{name}", secret, "--user", "bob"]),
    "command as JSON": lambda name, secret: json.dumps(["run", f"--{name}", secret, "--user", "bob"]),
    "command with = as a list": lambda name, secret: repr(["run", f"--{name}={secret}", "x"]),
    "environment as a list": lambda name, secret: repr([f"{name}={secret}", "PATH=/usr/bin"]),
    "logging": _logged,
    "f-string": lambda name, secret: f"{name}={secret!r} rows=12",
    "traceback with locals": _with_locals,
    "httpx request": _httpx,
    "requests' error": _requests,
    "structlog, console": _structlog(),
    "structlog, key=value": _event(structlog.processors.KeyValueRenderer()),
    "structlog, JSON": _event(structlog.processors.JSONRenderer()),
    "structlog, logfmt": _event(structlog.processors.LogfmtRenderer()),
}
