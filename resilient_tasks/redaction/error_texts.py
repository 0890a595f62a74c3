"""Secrets in the error messages of well-known libraries, which keep a name and its value apart."""

from __future__ import annotations

import ast
import functools
import re

from resilient_tasks.redaction import secret_names, sql_parameters
from resilient_tasks.redaction.known_secrets import KnownSecrets
from resilient_tasks.redaction.patterns import MARK, compiled, redact_inside_quotes
from resilient_tasks.redaction.secret_values import is_nothing, is_sentence, may_be_secret

#: Every such message contains one of these.
HINTS = ("[parameters: ", "input_value=", ")=(", "Duplicate entry '", "On instance[", ": invalid ", ", value: ", "loc")
_LINE = r"(?:\r?\n|\\n)"

# SQLAlchemy
_STATEMENT = compiled(
    rf"(?:\[SQL: (?P<sql>(?:(?!\[SQL: |\[parameters: )[^\0])*?)\]{_LINE})?"
    rf"\[parameters: (?P<values>(?:(?!\[parameters: )[^\0])*?)\](?=\s*$|{_LINE}|[\"'])"
)
_LITERAL = compiled(r"b?(?P<quote>\\?[\"'])(?:(?!(?P=quote))(?:\\.|[^\\]))*+(?P=quote)?")

# pydantic: the name is in the line before
_OF_FIELD = compiled(
    rf"(?:^|(?<=\n)|(?<=\\n))(?P<name>[^\s\\][^\r\n\\]{{0,200}}?){_LINE}"
    rf"(?:[ \t]+[^\r\n]{{0,1000}}?)\[type=(?P<type>[\w.-]+), "
    r"input_value=(?P<secret>[^\r\n]*?), input_type=",
)
#: After the field comes the member of a union that was tried.
_OF_TYPE = compiled(
    r"\.(?:int|float|bool|bytes|str|decimal|json-or-python\b.*|constrained-\w+|[a-z-]{1,30}\[.*\])(?:\.\d{1,6})?$"
)
_CUT = compiled(
    r"(input_value=(?:[^\r\n\"']|b?[\"']\[?\{)[^\r\n]{0,100}?\.\.\.)([^\r\n]{1,100}?)(?=[)}\]]*, input_type=)"
)

_SIMPLE = (
    # PostgreSQL: Key (name, password)=(bob, ...) already exists.
    compiled(r"\((?P<name>[^()\r\n]{1,200})\)=\((?P<secret>[^\r\n]{1,1000}?)\)(?= |$|\.)"),
    # MySQL
    compiled(r"Duplicate entry '(?P<secret>[^'\r\n]{1,1000})' for key '(?P<name>[^'\r\n]{1,200})'"),
    # jsonschema
    compiled(rf"On instance(?P<name>(?:\[[^\]\r\n]{{1,80}}\]){{1,20}}):(?:{_LINE})[ \t]*(?P<secret>[^\r\n]{{1,2000}})"),
    # argparse
    compiled(r"argument (?P<name>[\w/-]{1,80}): invalid [\w ]{1,40}: (?P<secret>[\"'][^\r\n]{1,500}?[\"'])(?= |$|\))"),
    # botocore
    compiled(r"(?:parameter|field|argument|member) (?P<name>[\w.\[\]-]{1,120}), value: (?P<secret>[^\r\n,]{1,1000})"),
    # the errors of pydantic and of FastAPI as data
    compiled(
        r"\\?[\"']?loc\\?[\"']?[:=] ?[\[(](?P<name>[^\])]{1,200})[\])](?:(?!loc\\?[\"']?[:=])[^\r\n]){0,600}?"
        r"\b(?:input|input_value)\\?[\"']?[:=] ?(?P<secret>b?(?P<quote>\\?[\"'])(?:(?!(?P=quote))(?:\\.|[^\\\r\n]))*+)"
    ),
)


def redact(text: str) -> str:
    """Redact the secrets in the messages of known errors in `text`."""
    if not any(map(text.__contains__, HINTS)):
        return text
    known = KnownSecrets()
    if "[parameters: " in text:
        text = _STATEMENT.sub(_redact_parameters, text)
    if "input_value=" in text:
        text = _OF_FIELD.sub(functools.partial(_redact_named, known), _CUT.sub(rf"\1{MARK}", text))
    for pattern in _SIMPLE:
        text = pattern.sub(functools.partial(_redact_named, known), text)
    return known.redact(text)  # such a text may quote a value twice


def _redact_parameters(match: re.Match[str]) -> str:
    sql, values = match["sql"], match["values"]
    try:
        parsed = ast.literal_eval(values)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        parsed = None
    if parsed is not None:
        clean = sql_parameters.redact_parameters(sql, parsed)
        return match[0] if clean is parsed else match[0].replace(values, repr(clean))
    if "'{" in values or values.lstrip("[(").startswith("{"):
        return match[0]  # the values have names
    names = sql_parameters.names_of(sql) if sql else ()
    if names and all(column and not secret_names.confidence(column) for _, column in names):
        return match[0]
    return match[0].replace(values, _LITERAL.sub(f"'{MARK}'", values))


def _redact_named(known: KnownSecrets, match: re.Match[str]) -> str:
    if not _is_secret(match["name"], match["secret"]):
        return match[0]
    bare = match["secret"].strip("b\\\"'")
    known.add([bare, bare.replace("\\\\", "\\")])
    return redact_inside_quotes(match)


def _is_secret(name: str, value: str) -> bool:
    """Return whether `name`, or one of several names in it, makes the value a secret."""
    bare = value.strip("b\\\"' ")
    if bare.startswith((MARK, "{", "[")) or is_nothing(bare) or is_sentence(bare):
        return False
    return may_be_secret(bare, max(map(secret_names.confidence, _OF_TYPE.sub("", name).split(", "))))
