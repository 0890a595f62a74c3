"""The names of a statement's parameters: the column that each is written to or compared with.

Drivers and SQLAlchemy quote the parameters of a failed statement without their names: `('bob', 'hunter2')`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from resilient_tasks.redaction import secret_names
from resilient_tasks.redaction.patterns import MARK, compiled, mark_like, redact_spans
from resilient_tasks.redaction.secret_names import Confidence, words
from resilient_tasks.redaction.secret_values import is_nothing, is_value, may_be_secret

#: How many characters of a statement are parsed.
_LONGEST = 20_000
_TOKEN = compiled(
    r"'(?:''|[^'])*+'|(?P<placeholder>\?|%\((?P<py>\w+)\)s|%s|(?<![:\w]):(?P<colon>\w+)|\$(?P<number>\d+)|@(?P<at>\w+))(?:::\w+)?"
    r"|(?P<word>[\"`\[]?[A-Za-z_][\w.$]*[\"`\]]?(?:\.[\"`\[]?\w+[\"`\]]?)*)|(?P<sign>[(),])"
)
_COLUMNS = compiled(
    r"\b(?:insert|replace|merge)\b[^()]{0,200}?\((?P<columns>[^()]{1,8000})\)[^()]{0,200}?\bvalues\b", re.IGNORECASE
)
_LITERAL = compiled(
    r"(?P<quote>\\{0,3}[\"'])(?P<secret>(?:''|(?!(?P=quote))(?:\\.|[^\\]))*+)(?P=quote)?"
    r"|(?P<sign>[(),])|(?P<word>[^\s\"'(),\\]+)"
)
_AS = compiled(
    r"\b(?P<column>[\w\"`.]+)\s*\)?\s*(?:=|<>|!=|<=|>=|<|>|(?:not\s+)?(?:i?like|in|between)\b)", re.IGNORECASE
)
_KEYWORDS = words(
    "select insert update delete into values value set where and or not in is null like ilike between on from "
    "join left right inner outer group by order having limit offset returning as case when then else end union "
    "all distinct any cast exists using with replace merge default conflict do nothing call exec execute escape"
)
_BREAKS = frozenset({"and", "or", "where", "set", "values", "then", "else", "when", "select", "having", "on", "using"})


@functools.lru_cache(maxsize=256)
def names_of(statement: str) -> tuple[tuple[str | None, str | None], ...]:  # noqa: C901  # one per kind of token
    """Return the name and the column of each placeholder in a statement, where known."""
    statement = statement[:_LONGEST]
    listed = _COLUMNS.search(statement)
    columns = [part.strip().strip('"`[]') for part in listed["columns"].split(",")] if listed else []
    values_from = listed.end() if listed else len(statement)
    found: list[tuple[str | None, str | None]] = []
    column: str | None = None
    stack: list[tuple[str | None, bool]] = []  # the column outside each parenthesis, and whether it opens a list
    place = 0
    before = ""
    for token in _TOKEN.finditer(statement):
        in_values = token.start() >= values_from
        if token["placeholder"] is not None:
            own = token["py"] or token["colon"] or token["at"] or (token["number"] and f"${token['number']}")
            at_place = columns[place] if in_values and len(stack) >= 1 and place < len(columns) else None
            found.append((own, at_place or column))
        elif (word := token["word"]) is not None:
            low = word.lower().strip('"`[]')
            if low in _BREAKS:
                column = None if low != "and" or before != "between" else column
                values_from = min(values_from, len(statement)) if low not in {"set", "where"} else len(statement)
            elif low not in _KEYWORDS and not statement.startswith("(", token.end()):
                column = low
            before = low if low in _KEYWORDS else before
        elif token["sign"] == "(":
            stack.append((column, before in {"in", "any"}))
            place = 0 if len(stack) == 1 else place
        elif token["sign"] == ")" and stack:
            before_it, _ = stack.pop()
            column = before_it or column
        elif token["sign"] == ",":
            if len(stack) <= 1:
                place += 1
            if not (stack and stack[-1][1]):
                column = None
    return tuple(found)


def redact_literals(text: str) -> str:
    """Redact what `INSERT INTO users (name, password) VALUES (...)` writes into secret columns."""
    spans: list[tuple[int, int]] = []
    read = 0
    for statement in _COLUMNS.finditer(text):
        columns = [secret_names.confidence(part.strip().strip('"`[]\\')) for part in statement["columns"].split(",")]
        if any(columns) and statement.start() >= read:
            read = _read_values(text, statement.end(), columns, spans)
    return redact_spans(text, spans)


def _read_values(text: str, begin: int, columns: Sequence[Confidence], spans: list[tuple[int, int]]) -> int:
    """Add the spans of the literals written into secret columns to `spans`, and return the end of the parsed text."""
    depth = place = 0
    end = begin
    for token in _LITERAL.finditer(text, begin, begin + _LONGEST):
        end = token.end()
        if token["sign"] == "(":
            depth, place = depth + 1, place if depth else 0
        elif token["sign"] == ")":
            depth -= 1
        elif token["sign"] == ",":
            place += depth == 1
        elif depth == 0:  # the next clause
            break
        elif token["quote"] is not None and place < len(columns) and is_value(token["secret"], columns[place]):
            spans.append(token.span("secret"))
    return end


def redact_parameters(statement: str | None, parameters: Any) -> Any:
    """Return the parameters of `statement` with possible secrets redacted; the same object if there are none.

    A text whose column is unknown may be a secret, so it is redacted.

    Args:
        statement: the SQL, or None if unknown.
        parameters: a mapping or a sequence of values, or a list of these.
    """
    names = names_of(statement) if statement else ()
    return _cleaned(parameters, names, depth=0)


def _cleaned(parameters: Any, names: tuple[tuple[str | None, str | None], ...], depth: int) -> Any:
    if depth > 2:  # at most a list of lists of values
        return parameters
    if isinstance(parameters, Mapping):
        columns = {own: column for own, column in names if own}
        made = {
            key: _value(value, *_confidence_of(str(key), columns.get(str(key)), known=True))
            for key, value in parameters.items()
        }
        return parameters if all(made[key] is parameters[key] for key in made) else made
    if not isinstance(parameters, list | tuple):
        return parameters
    if parameters and all(isinstance(part, list | tuple | Mapping) for part in parameters):
        many = [_cleaned(part, names, depth + 1) for part in parameters]
        return parameters if _same(many, parameters) else type(parameters)(many)
    in_order = _in_order(names)
    values = [
        _value(value, *_confidence_of(None, in_order.get(at), known=False)) for at, value in enumerate(parameters, 1)
    ]
    return parameters if _same(values, parameters) else tuple(values) if isinstance(parameters, tuple) else values


def _in_order(names: tuple[tuple[str | None, str | None], ...]) -> dict[int, str | None]:
    """Return the column of each parameter by its position from 1: PostgreSQL's `$2` is the second."""
    found: dict[int, str | None] = {}
    for at, (own, column) in enumerate(names, 1):
        place = int(own[1:9]) if own and own[0] == "$" else at
        if place not in found or secret_names.confidence(column or ""):
            found[place] = column
    return found


_ANONYMOUS = compiled(r"(?:param|p|arg|value|v|bind|b|x|pos)?_?\d*")


def _confidence_of(key: str | None, column: str | None, *, known: bool) -> tuple[Confidence, bool]:
    """Return the confidence that the names of a parameter give, and whether it has a name."""
    confidence = max(secret_names.confidence(key or ""), secret_names.confidence(column or ""))
    has_name = column is not None or (known and key is not None and _ANONYMOUS.fullmatch(key) is None)
    return confidence, has_name


def _value(value: Any, confidence: Confidence, has_name: bool) -> Any:  # noqa: FBT001
    if not isinstance(value, str | bytes):
        return MARK if confidence is Confidence.SURE and type(value) is int else value
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    if is_nothing(text) or (has_name and not may_be_secret(text, confidence)):
        return value
    return mark_like(value)


def _same(parts: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(part is other for part, other in zip(parts, others, strict=True))
