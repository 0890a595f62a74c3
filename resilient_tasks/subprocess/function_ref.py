"""Functions by name: what a fresh interpreter with the same `sys.path` can import need not be carried."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple


class Reference(NamedTuple):
    """Where a function is found: `depth` times `.__wrapped__` of `qualname` in `module`.

    A decorated function is not found under its own name: what bears the name is the decorator's.
    """

    module: str
    qualname: str
    depth: int


def reference_to(fn: FunctionType) -> Reference | None:
    """Return where another interpreter finds this very function, or None where it cannot."""
    name, qualname = fn.__module__, fn.__qualname__
    if not name or "<locals>" in qualname or not importable(name):
        return None
    found: Any = sys.modules[name]
    for part in qualname.split("."):
        found = getattr(found, part, None)
    depth = 0
    while found is not fn:
        found = getattr(found, "__wrapped__", None)
        depth += 1
        if found is None:
            return None
    return Reference(name, qualname, depth)


def resolve(module: str, qualname: str, depth: int) -> Callable[..., Any]:
    """Return the function that a reference stands for.

    Raises:
        ImportError: there is no such module here.
        AttributeError: the module has no such function.
    """
    found: Any = import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    for _ in range(depth):
        found = found.__wrapped__
    return found  # type: ignore[no-any-return]  # what the module has there


#: Folders that the other side needs on its path besides those of `sys.path`: some loaders put them there for the time
#: of an import only.
roots: list[str] = []


def importable(name: str) -> bool:
    """Tell whether a fresh interpreter, with `roots` on its path, finds the module that bears this name here."""
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return False
    return _finds(name, getattr(module, "__file__", None), tuple(sys.path))


@functools.cache
def _finds(name: str, file: str | None, path: tuple[str, ...]) -> bool:
    if _is_found(name, file, None):
        return True
    root = _root(name, file)
    if root is None or root in path or not _is_found(name, file, [root]):
        return False
    if root not in roots:
        roots.append(root)
    return True


def _is_found(name: str, file: str | None, where: list[str] | None) -> bool:
    # Not by importlib.util.find_spec: that believes in sys.modules, and in finders that only this interpreter has.
    spec = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:end]), where)
        if spec is None:
            return False
        where = spec.submodule_search_locations
    if spec is None or file is None or not spec.has_location or spec.origin is None:
        return spec is not None
    return os.path.abspath(spec.origin) == os.path.abspath(file)  # noqa: PTH100  # as import does, without links


def _root(name: str, file: str | None) -> str | None:
    """Return the folder from which a module of this name is found in this file."""
    path = Path(file or "").with_suffix("")
    path = path.parent if path.name == "__init__" else path
    parts = tuple(name.split("."))
    return str(path.parents[len(parts) - 1]) if path.parts[-len(parts) :] == parts else None


def _spec(name: str, where: Any) -> ModuleSpec | None:
    # What an editable install hooks in, it hooks into every interpreter of this environment.
    editable = [finder for finder in sys.meta_path if "editable" in str(getattr(finder, "__module__", ""))]
    finders: list[Any] = [BuiltinImporter, FrozenImporter, PathFinder, *editable]
    for finder in finders:
        found: ModuleSpec | None = finder.find_spec(name, where)
        if found is not None:
            return found
    return None
