"""Compare a function's return annotation with what its callers get."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_args, get_origin

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.pipeline import operation_of
from resilient_tasks.data.split import Split


def check_annotation(fn: Callable[..., Any], *, several: bool) -> None:
    """Refuse a function that is annotated to return a frame while its callers get a `Split`, or `several` of them.

    Raises:
        PolicyError: with a sentence that says what to write instead.
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
    """Return whether an annotation is a `Split`, or contains one."""
    if isinstance(given, str):
        return re.search(r"\bSplit\b", given) is not None if inside else re.match(r"(\w+\.)*Split\b", given) is not None
    if (get_origin(given) or given) is Split:
        return True
    if not inside:
        return False
    fields = vars(given).get("__annotations__", {}).values() if isinstance(given, type) else ()
    return any(_names_a_split(one, inside=True) for one in (*get_args(given), *fields))
