"""Containers of frames: unpack one into named parts with their schemas, and repack it with new frames."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_tasks import safely
from resilient_tasks.core.errors import InvalidData
from resilient_tasks.core.wording import number_of, was
from resilient_tasks.validation.schemas import check_complete, check_schema, library, portable

if TYPE_CHECKING:
    from resilient_tasks.validation.report import Report

#: A part's key in its container: a mapping's key, a field's name or a position.
Key = Any


class Location(NamedTuple):
    """Where data comes from: the result, its stand-in or an argument, and which part of it.

    Attributes:
        of: `result`, `stand-in`, or the name of an argument.
        is_argument: whether it is an argument.
        found: the Python expression for the part: `['train']`, `.train` or `[0]`; empty for the whole.
        name: the part's key as text; None for the whole.
    """

    of: str
    is_argument: bool = False
    found: str = ""
    name: str | None = None

    @property
    def title(self) -> str:
        """The place in messages: `result`, `result['train']`, `argument 'frame'`."""
        if self.is_argument:
            return f"argument {self.of}{self.found}" if self.found else f"argument {self.of!r}"
        return f"{self.of}{self.found}"

    @property
    def part(self) -> str | None:
        """The part's name in events; None for a result that is one frame."""
        return f"{self.of}{self.found}" if self.is_argument else self.name

    def batch(self, call: str) -> str:
        """Return the id of its quarantine batch, the same for all attempts of a call."""
        taken = "argument-" if self.is_argument and self.of == "result" else ""
        return f"{call}-{taken}{self.of}{'' if self.name is None else f'.{self.name}'}"


class Part(NamedTuple):
    """A frame and its schema.

    Attributes:
        key: its key in the container.
        location: where it is.
        frame: the frame.
        schema: its schema.
    """

    key: Key
    location: Location
    frame: Any
    schema: Any


class Accepted(NamedTuple):
    """An accepted frame: its key and location, the frame that is passed on, and the report."""

    key: Key
    location: Location
    given: Any
    report: Report


def combined_error(operation: str, errors: Sequence[tuple[Location, Exception]]) -> Exception:
    """Combine the errors of all refused parts into one. An error that is no `InvalidData` takes precedence."""
    for what, error in errors:
        if not isinstance(error, InvalidData):
            if what.name is not None:
                safely.note(error, f"in {what.title}")
            return error
    refused = [(what, error) for what, error in errors if isinstance(error, InvalidData)]
    (what, first), *more = refused
    if not more and what.name is None:
        return first  # a part is missing or unexpected; none is bad
    lead = f"{operation}: "
    one = InvalidData(
        lead + "; ".join(str(error).removeprefix(lead) for _, error in refused),
        report=next((error.report for _, error in refused if error.report is not None), None),
        reports={what.name: error.report for what, error in refused if what.name is not None},
    )
    for _, error in refused:
        for note in safely.notes(error):
            one.add_note(note)
    return one


def is_container(schemas: Any) -> bool:
    """Return whether these are the schemas of several frames, by name or by position."""
    return isinstance(schemas, Mapping | tuple | list)


def schemas_by_name(schemas: Any) -> Mapping[str, Any]:
    """Return the schemas by the names of the parts; a single schema has an empty name."""
    if schemas is None:
        return {}
    if not is_container(schemas):
        return {"": schemas}
    return {str(name): schema for name, schema in _named(schemas) if schema is not None}


def check_schemas(schemas: Any) -> None:
    """Refuse anything but a schema, or a mapping or tuple of schemas.

    Raises:
        TypeError: it is something else; the message says what to write instead.
    """
    if is_container(schemas):
        names = [str(name) for name, _ in _named(schemas)]
        if len({*names}) < len(names):
            raise TypeError(f"Two parts have the same name: {', '.join(names)}.")
        if not schemas_by_name(schemas):
            raise TypeError("No part has a schema: give one to each part to check.")
        only: Any = schemas[0] if isinstance(schemas, list) and len(schemas) == 1 else None
        if library(only) == "pydantic":
            raise TypeError(
                f"[{only.__name__}] is a list of one frame: write {only.__name__} for a list of records, or"
                f" ({only.__name__},) for a tuple of one such list."
            )
    for name, schema in schemas_by_name(schemas).items():
        try:
            check_schema(schema)
            check_complete(schema)
        except TypeError as error:
            raise TypeError(f"{error} It is given for the part {name!r}." if name else str(error)) from error.__cause__


def portable_parts(schemas: Any) -> Any:
    """Return these schemas in a form that keeps their rules in another process; see `portable`."""
    if not is_container(schemas):
        return portable(schemas)
    items = schemas.items() if isinstance(schemas, Mapping) else enumerate(schemas)
    return repack(schemas, {key: portable_parts(schema) for key, schema in items})


def unpack(value: Any, schemas: Any, whole: Location) -> tuple[list[Part], str]:
    """Unpack a container into the parts that its schemas name.

    Args:
        value: a mapping, tuple, list, named tuple or dataclass instance that holds frames.
        schemas: a mapping or tuple of schemas; None leaves a part unchecked.
        whole: the container's location.

    Returns:
        The parts that have a schema, and a message about missing or unexpected parts, if any.

    Raises:
        TypeError: the value and the schemas have different shapes.
    """
    wanted = dict(_named(schemas))
    if isinstance(value, tuple | list) and not isinstance(schemas, Mapping):
        return _by_position(value, wanted, whole)
    found = _held(value)
    if found is None or (isinstance(schemas, tuple | list) and not hasattr(schemas, "_fields")):
        raise TypeError(_other_shape(value, wanted, schemas))
    written = "[{!r}]" if isinstance(value, Mapping) else ".{}"
    checked = {key: schema for key, schema in wanted.items() if schema is not None and key in found}
    parts = [
        Part(key, whole._replace(found=written.format(key), name=str(key)), found[key], schema)
        for key, schema in checked.items()
    ]
    missing = [f"{key!r} is missing" for key in wanted if key not in found]
    more = [f"{key!r} is not expected: give it a schema, or None" for key in found if key not in wanted]
    return parts, "; ".join((*missing, *more))


def repack(value: Any, new: Mapping[Key, Any]) -> Any:
    """Return a container of the same type with new frames at these keys; the same object if none changed."""
    if isinstance(value, tuple):
        return _tuple(value, new)
    held = value if isinstance(value, Mapping | list) else _held(value) or {}
    if all(held[key] is frame for key, frame in new.items()):
        return value
    if isinstance(value, Mapping) and not isinstance(value, MutableMapping):
        return type(value)({**value, **new})  # type: ignore[call-arg]  # immutable mappings are made from a dict
    made = copy.copy(value)
    for key, frame in new.items():
        if isinstance(value, MutableMapping | list):
            made[key] = frame
        else:
            object.__setattr__(made, key, frame)  # works for frozen dataclasses too
    return made


def _tuple(value: Any, new: Mapping[Key, Any]) -> Any:
    fields = getattr(value, "_fields", ())
    by_position = {fields.index(key) if isinstance(key, str) else key: frame for key, frame in new.items()}
    if all(value[at] is frame for at, frame in by_position.items()):
        return value
    made = tuple.__new__(type(value), (by_position.get(at, item) for at, item in enumerate(value)))
    getattr(made, "__dict__", {}).update(getattr(value, "__dict__", {}))
    return made


def _named(schemas: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each schema with its key, field name or position."""
    if isinstance(schemas, Mapping):
        yield from schemas.items()
    else:
        yield from zip(getattr(schemas, "_fields", range(len(schemas))), schemas, strict=True)


def _held(value: Any) -> Mapping[Any, Any] | None:
    """Return a container's items by name; None if they have no names."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _by_position(value: Any, wanted: Mapping[Any, Any], whole: Location) -> tuple[list[Part], str]:
    fields = getattr(value, "_fields", ())
    parts = []
    for at, (key, frame) in enumerate(zip(wanted, value, strict=False)):
        if wanted[key] is not None:
            place = f".{fields[at]}" if fields else f"[{at}]"
            name = str(fields[at] if fields else key)
            parts.append(Part(at, whole._replace(found=place, name=name), frame, wanted[key]))
    if len(value) == len(wanted):
        return parts, ""
    return parts, f"{number_of(len(value), 'part')}; {len(wanted)} {was(len(wanted))} expected"


def _other_shape(value: Any, wanted: Mapping[Any, Any], schemas: Any) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    names = ", ".join(map(repr, wanted))
    if isinstance(schemas, Mapping):
        right = f"a dict, a named tuple or a dataclass with {names}"
        instead = "a tuple of schemas is for a tuple" if isinstance(value, tuple | list) else "a schema is for a frame"
    else:
        right = f"a tuple or a list of {len(wanted)} frames"
        instead = (
            "a mapping of schemas is for what has names" if _held(value) is not None else "a schema is for a frame"
        )
    return f"the schemas are for {right}, and the data is a {kind}; {instead}"
