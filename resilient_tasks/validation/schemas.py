"""Recognise schemas, find out whether pandera's own methods validate them, and compute fingerprints."""

from __future__ import annotations

import copy
import functools
import hashlib
import pickle
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import CodeType
from typing import Any

_ORIGINS = {
    ("pandera.api.pandas.container", "DataFrameSchema"): "pandas",
    ("pandera.api.pandas.model", "DataFrameModel"): "pandas",
    ("pandera.api.polars.container", "DataFrameSchema"): "polars",
    ("pandera.api.polars.model", "DataFrameModel"): "polars",
    ("pydantic.main", "BaseModel"): "pydantic",
}
_SCHEMA_FACTS = (
    "name", "strict", "ordered", "coerce", "unique", "report_duplicates", "unique_column_names",
    "add_missing_columns", "drop_invalid_rows", "dtype",
)  # fmt: skip
_COMPONENT_FACTS = (
    "name", "dtype", "nullable", "unique", "report_duplicates", "coerce", "required", "regex", "default",
    "drop_invalid_rows",
)  # fmt: skip
# Without a check's error text: it is a label, and one made from a set differs between processes.
_CHECK_FACTS = (
    "name", "element_wise", "ignore_na", "raise_warning", "n_failure_cases", "groupby", "groups",
    "statistics",
)  # fmt: skip
# Serialization, description and addresses of a model are no rules.
_NO_RULES = frozenset({"serialization", "computed_fields", "metadata"})
_IDENTITY = re.compile(r":\d+")  # the address after a class name, in a reference
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEPTH = 12
_SCRIPTS = frozenset({"__main__", "__mp_main__"})  # modules that another process cannot import

_HARMLESS = frozenset(
    [
        "__abstractmethods__",
        "__annotations__",
        "__classcell__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__init__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__qualname__",
        "__repr__",
        "__slots__",
        "__static_attributes__",
        "__str__",
        "__weakref__",
        "_abc_impl",
    ]
)
"""Names that a subclass may define and still be validated by rule: its rules are attributes of the object."""


def library(obj: object) -> str | None:
    """Return the library whose data a schema is for.

    Compares the names of base classes, so it imports nothing.

    Args:
        obj: Anything.

    Returns:
        `"pandas"`, `"polars"`, `"pydantic"` for a model of JSON records, or None if `obj` is not a schema.
    """
    kind = obj if isinstance(obj, type) else type(obj)
    for ancestor in kind.__mro__:
        found = _ORIGINS.get((ancestor.__module__, ancestor.__name__))
        if found and ancestor.__name__.endswith("Model") == isinstance(obj, type):
            return found
    return None


def is_schema(obj: object) -> bool:
    """Return whether `obj` is a pandera schema or model for pandas or polars, or a pydantic model.

    Args:
        obj: Anything.
    """
    return library(obj) is not None


def check_schema(obj: object) -> None:
    """Refuse anything that is not a schema.

    Args:
        obj: The object given as a schema.

    Raises:
        TypeError: `obj` is not a schema; the message says what is accepted.
    """
    if is_schema(obj):
        return
    given = f"the class {obj.__name__}" if isinstance(obj, type) else f"a {type(obj).__name__}"
    raise TypeError(
        f"A schema is a pandera DataFrameSchema or a DataFrameModel subclass, from pandera.pandas or "
        f"pandera.polars, or a pydantic model for a list of JSON records; {given} is none of these."
    )


def as_schema(obj: Any) -> Any:
    """Return the `DataFrameSchema` of a pandera schema or model, with `drop_invalid_rows` off everywhere.

    Args:
        obj: A schema or model of pandera.

    Raises:
        TypeError: If it is neither.
    """
    check_schema(obj)
    if library(obj) == "pydantic":
        raise TypeError(
            f"{obj.__name__} is a pydantic model, for a list of records; a data frame needs a pandera schema."
        )
    schema = _built(obj)
    if any(getattr(part, "drop_invalid_rows", False) for part in (schema, *_components(schema))):
        # Pandera would silently drop rows by label; a split must return them.
        schema = copy.deepcopy(schema)
        for part in (schema, *_components(schema)):
            part.drop_invalid_rows = False
    return schema


def check_complete(obj: Any) -> None:
    """Refuse a model that cannot be built yet.

    Args:
        obj: A schema or model.

    Raises:
        TypeError: The model is incomplete; the message says what is missing.
    """
    try:
        if library(obj) != "pydantic":
            _built(obj)
        elif not obj.__pydantic_complete__:
            obj.model_rebuild()
    except Exception as error:
        first = "it contains itself" if isinstance(error, RecursionError) else str(error).strip().partition("\n")[0]
        raise TypeError(
            f"The model {obj.__name__} cannot be made a schema ({type(error).__name__}: {first}). Define every type"
            " that it names before this decorator, and correct what this error names."
        ) from error


def portable(obj: Any) -> Any:
    """Return `obj` in a form that keeps all its rules in another process, with any pickler.

    A model that the other process can import is pickled by name. A model of the running script is replaced by its
    schema: cloudpickle 3.1 would pickle the class by value and lose the marks of pandera's decorators on its check
    methods and parsers.

    Args:
        obj: A schema or model.
    """
    is_model = isinstance(obj, type) and library(obj) in {"pandas", "polars"}
    return _PickledAsSchema(obj) if is_model and not is_importable(obj) else obj


class _PickledAsSchema:
    """Pickles a model as its schema."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle  # noqa: PLC0415 - needed only when a model is pickled

        # As bytes, because plain pickle refuses the functions of a check method.
        return pickle.loads, (cloudpickle.dumps(_built(self._model)),)


def is_importable(model: type) -> bool:
    """Return whether another process can import a class, so that cloudpickle pickles it by name.

    Args:
        model: A class.
    """
    from cloudpickle import list_registry_pickle_by_value  # noqa: PLC0415 - as above

    name = model.__module__
    parents = (name.rsplit(".", levels)[0] for levels in range(name.count(".") + 1))
    if name in _SCRIPTS or list_registry_pickle_by_value() & set(parents):
        return False
    found: Any = sys.modules.get(name)
    for part in model.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is model


def has_parsers(schema: Any) -> bool:
    """Return whether the schema rewrites values before it checks them.

    Args:
        schema: A `DataFrameSchema`.
    """
    return any(getattr(part, "parsers", None) for part in (schema, *_components(schema)))


def fingerprint(schema: Any) -> str:
    """Return the fingerprint of a schema. Equal rules have equal fingerprints in every process of one Python version.

    It covers types, flags, checks with their arguments, and the compiled code of custom checks, parsers and validators
    with the values they close over. Pandera's `to_json()` and a model's JSON schema leave that code out.

    Args:
        schema: A schema or model.

    Returns:
        12 hexadecimal digits.

    Raises:
        TypeError: If `schema` is not a schema.
    """
    check_schema(schema)
    kind = library(schema)
    facts = list(_leaves(schema.__pydantic_core_schema__)) if kind == "pydantic" else _pandera_facts(schema)
    return hashlib.sha256(_canonical([kind, facts]).encode()).hexdigest()[:12]


def _pandera_facts(given: Any) -> list[Any]:
    schema, own = _built(given), _own_validate(given)
    components = [[_facts(part, _COMPONENT_FACTS), _rules(part)] for part in _components(schema)]
    return [_facts(schema, _SCHEMA_FACTS), components, _rules(schema), *([] if own is None else [own])]


def _leaves(rules: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield pydantic's compiled model as pairs of path and value: it nests too deeply for `_canonical`."""
    if isinstance(rules, Mapping):
        is_rule = isinstance(rules.get("type"), str)  # otherwise a model's fields, which can have any names
        for key, value in rules.items():
            if not (is_rule and key in _NO_RULES):
                yield from _leaves(value, f"{path}.{key}")
    elif isinstance(rules, list | tuple):
        for value in rules:
            yield from _leaves(value, f"{path}[]")
    else:
        yield path, _IDENTITY.sub("", rules) if path.endswith("ref") and isinstance(rules, str) else rules


def _built(obj: Any) -> Any:
    if not hasattr(obj, "to_schema"):
        return obj
    return obj.to_schema() if _own_validate(obj) is None else _validating_by(obj)


def _own_validate(obj: Any) -> Any:
    """Return the user's override of pandera's `validate`; None if there is none."""
    function = getattr(obj.validate, "__func__", None)
    own = not str(getattr(function, "__module__", "")).startswith("pandera.")
    return getattr(function, "of_model", function) if own else None


@functools.lru_cache
def _validating_by(model: Any) -> Any:
    """Return a schema that validates with the overridden `validate` of its model.

    `super().validate()` uses this schema: a pickled model may have lost its check methods.
    """
    schema = model.to_schema()
    names = {"__module__": model.__module__, "to_schema": classmethod(lambda _: schema)}
    own: Any = type(model.__name__, (model,), names)

    def validate(_: Any, check_obj: Any, *args: Any, **options: Any) -> Any:
        return own.validate(check_obj, *args, **options)

    validate.of_model = _own_validate(model)  # type: ignore[attr-defined]  # for the fingerprint
    held = copy.copy(schema)
    held.__class__ = type(type(schema).__name__, (type(schema),), {"validate": validate})
    return held


def _components(schema: Any) -> list[Any]:
    index = getattr(schema, "index", None)
    levels = [] if index is None else [index, *getattr(index, "indexes", ())]
    return [*schema.columns.values(), *levels]


def _facts(part: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(part, name, None) for name in names}


def _rules(part: Any) -> list[Any]:
    checks = [[_facts(check, _CHECK_FACTS), getattr(check, "_check_fn", None)] for check in part.checks or ()]
    parsers = [[parser.name, getattr(parser, "_parser_fn", None)] for parser in getattr(part, "parsers", ())]
    return [checks, parsers]


def _canonical(value: Any, depth: int = 0) -> str:
    """Return text that is the same in every process, without addresses and hash order."""
    down = depth + 1
    match value:
        case _ if depth > _DEPTH:
            text = "…"
        case str() | bytes() | int() | float() | None:
            text = repr(value)
        case Mapping():
            text = f"{{{','.join(f'{_canonical(k, down)}:{_canonical(v, down)}' for k, v in value.items())}}}"
        case AbstractSet():
            text = f"<{','.join(sorted(_canonical(item, down) for item in value))}>"
        case Sequence():
            text = f"[{','.join(_canonical(item, down) for item in value)}]"
        case CodeType():
            text = _canonical([value.co_code, value.co_names, value.co_consts], down)
        case type():
            text = f"{value.__module__}.{value.__qualname__}"
        case _ if callable(value):
            text = _callable(value, down)
        case _:
            text = _ADDRESS.sub("", f"{type(value).__qualname__} {value!r}")
    return text


def _callable(function: Any, depth: int) -> str:
    inner = getattr(function, "func", None)  # a partial, or a wrapper that keeps its function
    if inner is not None:
        arguments = [getattr(function, "args", ()), getattr(function, "keywords", {})]
        return _canonical([inner, arguments], depth)
    code = getattr(function, "__code__", None)
    if code is None:
        return _ADDRESS.sub("", f"{type(function).__qualname__} {getattr(function, '__qualname__', '')}")
    cells = [_cell(cell) for cell in function.__closure__ or ()]
    defaults = [function.__defaults__, function.__kwdefaults__]
    return _canonical([function.__qualname__, code, defaults, cells], depth)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the name is not bound yet
        return None


def overrides_pandera(part: Any) -> bool:
    """Return whether a schema, column, index or check overrides a method of pandera's class.

    A method may be replaced in a subclass, on the object, or in a backend that was registered for the class.

    Args:
        part: An object of pandera or of a subclass.
    """
    kind: Any = type(part)
    return _of_class(kind) or not _methods(kind).isdisjoint(vars(part))


@lru_cache
def _methods(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


@lru_cache
def _of_class(kind: type) -> bool:
    for ancestor in kind.__mro__:
        if _is_panderas(ancestor):
            return False
        for name in vars(ancestor):
            if name not in _HARMLESS and any(hasattr(base, name) for base in kind.__mro__ if _is_panderas(base)):
                return True
    return False


def has_foreign_backend(part: Any, data: Any) -> bool:
    """Return whether some data is validated by a backend that is not pandera's, or is missing.

    Args:
        part: A schema or a component of one.
        data: What it would validate.
    """
    try:
        return not _is_panderas(type(part.get_backend(data)))
    except Exception:  # a subclass without a registered backend: pandera reports it
        return True


def _is_panderas(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "pandera"
