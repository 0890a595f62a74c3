"""Find out whether a function does something that must not happen twice, by the names in its code."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from resilient_tasks.explanation.references import codes_of, loads_method

#: Methods that create something with each call, on any object.
_CREATES = frozenset({"post", "patch", "send_message", "sendmail", "to_sql", "chat_postMessage"})
#: Methods that many objects have; those of an HTTP client count.
_OF_CLIENTS = frozenset({"put", "delete", "request"})
_EXECUTES = frozenset({"execute", "executemany"})
_NAMES = _CREATES | _OF_CLIENTS | _EXECUTES | {"urlopen", "Request"}
_CLIENT = re.compile(r"(client|session|http|requests|api)", re.IGNORECASE)
_INSERT = re.compile(r"\s*INSERT\s+INTO\b", re.IGNORECASE)
_MERGES = re.compile(r"\bON\s+(CONFLICT|DUPLICATE)\b", re.IGNORECASE)
#: A service that knows a request by such a key does not do it again.
_KEY = re.compile(r"idempotency.?key", re.IGNORECASE)


def posts_of(functions: Iterable[FunctionType]) -> list[str]:
    """Return the calls of these functions that must not happen twice."""
    found = [call for each in functions for code in codes_of(each) for call in _in_code(code, each)]
    return [*dict.fromkeys(found)]


def _in_code(code: CodeType, fn: Any) -> Iterator[str]:
    if _NAMES.isdisjoint(code.co_names):
        return
    texts = [constant for constant in _constants(code) if isinstance(constant, str)]
    if any(map(_KEY.search, texts)):
        return
    inserts = any(map(_INSERT.match, texts)) and not any(map(_MERGES.search, texts))
    sends = not {"POST", "PATCH"}.isdisjoint(texts)
    modules = {name for name in code.co_names if isinstance(fn.__globals__.get(name), ModuleType)}
    before = ""
    for step in dis.get_instructions(code):
        name = step.argval if isinstance(step.argval, str) else ""
        if name in _NAMES and (loads_method(step) or (step.opname == "LOAD_ATTR" and before in modules)):
            yield from _method(name, before, inserts=inserts, sends=sends)
        elif name in _NAMES and step.opname == "LOAD_GLOBAL" and _creates(name, fn, sends=sends):
            yield f"{name}(...)"
        if step.opname.startswith("LOAD_") and step.opname != "LOAD_CONST":
            before = name or before


def _method(name: str, of: str, *, inserts: bool, sends: bool) -> Iterator[str]:
    if name in _CREATES or (name in {"put", "delete"} and _CLIENT.search(of)):
        yield f"{of}.{name}(...)" if of else f"{name}(...)"
    elif name in _EXECUTES and inserts:
        yield f'{name}("INSERT ...")'
    elif name == "request" and sends:
        yield f'{of}.request("POST", ...)'


def _creates(name: str, fn: Any, *, sends: bool) -> bool:
    """Whether a function that was imported by its name creates something."""
    library = str(getattr(fn.__globals__.get(name), "__module__", "")).partition(".")[0]
    if name in {"post", "patch"}:
        return library in {"requests", "httpx"}
    return name in {"urlopen", "Request"} and library == "urllib" and sends


def _constants(code: CodeType) -> Iterator[Any]:
    for constant in code.co_consts:
        yield from constant if isinstance(constant, tuple) else (constant,)
