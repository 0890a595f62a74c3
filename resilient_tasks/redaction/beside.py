"""Secrets whose name is in another field: `{"name": "DB_PASSWORD", "value": ...}`, and the parameters of a statement.

Many libraries' errors keep the two apart, in attributes or entries: the path of a field, and its value.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resilient_tasks.redaction import commands, secret_names, sql_parameters
from resilient_tasks.redaction.patterns import compiled
from resilient_tasks.redaction.registered import MARK
from resilient_tasks.redaction.secret_names import Says, words
from resilient_tasks.redaction.secret_values import is_nothing, is_random, is_sentence

#: Keys of names, and keys of their values; in lowercase, without `_` and `-`.
_NAMES = words(
    "name key field fieldname loc path relativepath absolutepath param paramname paramhint parameter parametername "
    "parameterkey variable variablename column columnname header headername option argument argumentname property "
    "propertyname attribute attributename setting label env envvar"
)
_VALUES = words(
    "value input inputvalue instance content stringvalue parametervalue secretstring given got actual provided "
    "invalidvalue badvalue currentvalue rawvalue rejectedvalue default"
)
#: Attributes of parsers' errors that name the argument or field.
_ABOUT = words(
    "param paramname paramhint parameter parametername argument argumentname option optionname field fieldname"
)
_QUOTED = compiled(r"(?<![\w])([\"'])((?:\\.|(?!\1)[^\\\r\n]){4,200})\1(?!\w)")
_SQL = compiled(r"\s{0,20}(?:select|insert|update|delete|merge|replace|with|call|exec|execute)\b", re.IGNORECASE)
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
    """Return replacements for the values in `held` that another of its entries shows to be secrets."""
    made = _described(held)
    for key in _PARAMETERS:
        values = held.get(key)
        if isinstance(values, Mapping | list | tuple) and values:
            found = [held[name] for name in _STATEMENTS if isinstance(held.get(name), str)]
            if found:
                made[key] = sql_parameters.without_secrets(found[0], values)
    return {key: value for key, value in made.items() if value is not held[key]}


def after_statement(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `values` with the secrets redacted in the parameters that follow an SQL statement."""
    made = list(values)
    for at, (statement, parameters) in enumerate(itertools.pairwise(values)):
        if isinstance(parameters, Mapping | list | tuple) and isinstance(statement, str) and _SQL.match(statement):
            made[at + 1] = sql_parameters.without_secrets(statement, parameters)
    return values if all(new is old for new, old in zip(made, values, strict=True)) else tuple(made)


def quoted_by(held: Mapping[str, Any], texts: Iterable[str]) -> set[str]:
    """Return what `texts` quote, if an attribute names a secret and no attribute holds its value."""
    short = {key: key.lower().replace("_", "") for key in held}
    said = max(
        (secret_names.of(_name(held[key])) for key, word in short.items() if word in _ABOUT), default=Says.NOTHING
    )
    if said <= Says.IF_RANDOM or any(word in _VALUES for word in short.values()):
        return set()
    found = {quoted[2] for text in texts for quoted in _QUOTED.finditer(text[:2000])}
    return {text for text in found if not secret_names.of(text) and not is_sentence(text)}


def _described(held: Mapping[Any, Any]) -> dict[Any, Any]:
    if not 2 <= len(held) <= 100:  # a name and a value, but not a table
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
    """Return a name; of a path to a field, the last part that is text."""
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
    """Return the items of a possible command line with the secrets redacted; None if there are none."""
    made = commands.without_secrets(items) or list(items)
    for number, item in enumerate(made):
        name, sign, value = item.partition("=")
        if sign and len(name) <= _LONGEST_NAME and " " not in name and "&" not in value:
            made[number] = f"{name}={_blotted(value, secret_names.of(name))}"
    for number, item in enumerate(made[:-1]):
        if item.startswith("-") and "=" not in item and " " not in item:
            made[number + 1] = _blotted(made[number + 1], secret_names.of(item))
    return None if made == list(items) else made
