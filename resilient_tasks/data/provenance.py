"""Describe where bad rows come from: the call's data, and the schema that refused them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient_tasks.data.schemas import is_found_by_name

if TYPE_CHECKING:
    from resilient_tasks.core.call import Work


def source(work: Work, what: str) -> str:
    """Describe the data and its call: with the names of the arguments, never their values."""
    try:
        names = ", ".join(inspect.signature(work.fn).bind(*work.args, **work.kwargs).arguments)
    except (TypeError, ValueError):  # some callables written in C have no signature
        names = "…"
    return f"{what} of {work.operation}({names})"


def schema_name(schema: Any, fn: Callable[..., Any]) -> str:
    """Return `module:name` by which a schema can be imported, or nothing.

    That is the name which the function's own module has for it; else, for a model, its own.
    """
    names = getattr(inspect.unwrap(fn), "__globals__", {})
    module = names.get("__name__", "__main__")
    found = [name for name, value in list(names.items()) if value is schema]
    if found and module != "__main__":
        return f"{module}:{found[0]}"
    own = isinstance(schema, type) and "." not in schema.__qualname__ and is_found_by_name(schema)
    return f"{schema.__module__}:{schema.__qualname__}" if own else ""
