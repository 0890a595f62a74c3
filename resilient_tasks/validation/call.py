"""The call whose data is validated: its return annotation, its arguments, and where its schema is imported from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args, get_origin

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.pipeline import operation_of
from resilient_tasks.validation.report import Split
from resilient_tasks.validation.schemas import is_importable

if TYPE_CHECKING:
    from resilient_tasks.core.call import Work


def check_annotation(fn: Callable[..., Any], *, several: bool) -> None:
    """Refuse a function whose return annotation is a frame although its callers get a `Split`, or several.

    Raises:
        PolicyError: the annotation is wrong; the message says what to write instead.
    """
    try:
        given = inspect.get_annotations(fn, eval_str=True).get("return", Split)
    except Exception:  # names that exist for type checkers only, or an object without annotations
        given = getattr(fn, "__annotations__", {}).get("return", Split)
    if _names_a_split(given, inside=several):
        return
    text = given if isinstance(given, str) else inspect.formatannotation(given)
    right = "dict[str, Split[...]], or the type that holds its Splits" if several else "Split[...]"
    what = "Splits in place of frames" if several else "a Split"
    msg = (
        f"{operation_of(fn)} is annotated to return {text}, and with on_invalid='branch' its caller gets {what}:"
        f" annotate it -> {right}"
    )
    raise PolicyError(msg)


def _names_a_split(given: Any, *, inside: bool) -> bool:
    """Return whether an annotation is, or contains, a `Split`."""
    if isinstance(given, str):
        return re.search(r"\bSplit\b", given) is not None if inside else re.match(r"(\w+\.)*Split\b", given) is not None
    if (get_origin(given) or given) is Split:
        return True
    if not inside:
        return False
    fields = vars(given).get("__annotations__", {}).values() if isinstance(given, type) else ()
    return any(_names_a_split(one, inside=True) for one in (*get_args(given), *fields))


def source(work: Work, what: str) -> str:
    """Describe the data and its call by the names of the arguments, never by their values."""
    try:
        names = ", ".join(inspect.signature(work.fn).bind(*work.args, **work.kwargs).arguments)
    except (TypeError, ValueError):  # some callables written in C have no signature
        names = "…"
    return f"{what} of {work.operation}({names})"


def schema_name(schema: Any, fn: Callable[..., Any]) -> str:
    """Return the `module:name` from which a schema can be imported, or an empty text.

    The name is that in the function's own module; otherwise, for a model, its own.
    """
    names = getattr(inspect.unwrap(fn), "__globals__", {})
    module = names.get("__name__", "__main__")
    found = [name for name, value in list(names.items()) if value is schema]
    if found and module != "__main__":
        return f"{module}:{found[0]}"
    own = isinstance(schema, type) and "." not in schema.__qualname__ and is_importable(schema)
    return f"{schema.__module__}:{schema.__qualname__}" if own else ""
