"""What stands beside a name: the value in `{"name": "DB_PASSWORD", "value": ...}`, and the parameters of a statement.

Many libraries' errors hold the two apart, in attributes or in entries: the path of a field and what was given for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from resilient_tasks.core import commands, secret_names, sql_parameters
from resilient_tasks.core.registered import MARK
from resilient_tasks.core.secret_names import Says, words
from resilient_tasks.core.secret_values import is_nothing, is_random, is_sentence

#: What holds a name, and what holds the value that bears it; in small letters, without `_` and `-`.
_NAMES = words(
    "name key field fieldname loc path relativepath absolutepath param paramname paramhint parameter parametername "
    "parameterkey variable variablename column columnname header headername option argument argumentname property "
    "propertyname attribute attributename setting label env envvar"
)
_VALUES = words(
    "value input inputvalue instance content stringvalue parametervalue secretstring given got actual provided "
    "invalidvalue badvalue currentvalue rawvalue rejectedvalue default"
)
_LONGEST_NAME = 100
_STATEMENTS = ("statement", "sql", "query", "sql_query", "operation")
_PARAMETERS = (
    "params",
    "parameters",
    "args",
    "binds",
    "bind_params",
    "bindparams",
    "query_params",
    "compiled_parameters",
)


def without_secrets(held: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return what to put in the place of values in `held` that another of its entries tells to be secrets."""
    made = _described(held)
    for key in _PARAMETERS:
        values = held.get(key)
        if isinstance(values, Mapping | list | tuple) and values:
            found = [held[name] for name in _STATEMENTS if isinstance(held.get(name), str)]
            if found:
                made[key] = sql_parameters.without_secrets(found[0], values)
    return {key: value for key, value in made.items() if value is not held[key]}


def _described(held: Mapping[Any, Any]) -> dict[Any, Any]:
    if not 2 <= len(held) <= 100:  # a name and a value; and no table
        return {}
    short = {key: key.lower().replace("_", "").replace("-", "") for key in held if isinstance(key, str)}
    values = [key for key, word in short.items() if word in _VALUES]
    if not values:
        return {}
    said = max(
        (secret_names.of(_name(held[key])) for key, word in short.items() if word in _NAMES), default=Says.NOTHING
    )
    return {key: _blotted(held[key], said) for key in values} if said else {}


def _name(held: Any) -> str:
    """Return a name, also where it is a path to a field: the last of its parts that is a text."""
    if isinstance(held, list | tuple | deque):
        held = next((part for part in reversed(held) if isinstance(part, str)), "")
    return held[:200] if isinstance(held, str) else ""


def _blotted(value: Any, said: Says) -> Any:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if type(value) is int and said is Says.SURELY:
        return MARK
    if not isinstance(text, str) or is_nothing(text) or text.startswith(MARK) or is_sentence(text):
        return value
    if said is Says.NOTHING or (said is Says.IF_RANDOM and not is_random(text)):
        return value
    return MARK if isinstance(value, str) else MARK.encode()


def of_command(items: Sequence[str]) -> list[str] | None:
    """Return the items of what may be a command line without the secrets in them; None where there is none."""
    made = commands.without_secrets(items) or list(items)
    for number, item in enumerate(made):
        name, sign, value = item.partition("=")
        if sign and len(name) <= _LONGEST_NAME and " " not in name and "&" not in value:
            made[number] = f"{name}={_blotted(value, secret_names.of(name))}"
    for number, item in enumerate(made[:-1]):
        if item.startswith("-") and "=" not in item and " " not in item:
            made[number + 1] = _blotted(made[number + 1], secret_names.of(item))
    return None if made == list(items) else made
