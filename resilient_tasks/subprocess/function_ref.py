"""Functions as bytes: by name, if a fresh interpreter with the same `sys.path` can import them, else by value."""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from operator import is_
from pathlib import Path
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Any, NamedTuple

import cloudpickle
from cloudpickle import cloudpickle as details


class Reference(NamedTuple):
    """Where a function is found: `depth` times `.__wrapped__` of `qualname` in `module`.

    A decorated function is not found under its own name: the name leads to the decorator's result.
    """

    module: str
    qualname: str
    depth: int

    def __str__(self) -> str:
        """Return it as `pkgutil.resolve_name` reads it."""
        return f"{self.module}:{self.qualname}{'.__wrapped__' * self.depth}"


def reference_to(fn: FunctionType) -> Reference | None:
    """Return where another interpreter finds this very function, or None if it cannot."""
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


#: Folders that the other side needs besides those of `sys.path`: some loaders put a folder there for the time of an
#: import only.
roots: list[str] = []


def importable(name: str) -> bool:
    """Return whether a fresh interpreter, with `roots` on its path, finds the module of this name that is here."""
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
    # Not importlib.util.find_spec, which trusts sys.modules, and finders that only this interpreter has.
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
    return next((found for finder in finders if (found := finder.find_spec(name, where)) is not None), None)


#: Types whose values cannot change.
_ATOMS = frozenset((int, float, complex, bool, str, bytes, NoneType, EllipsisType, CodeType))


#: The bytes of a function, what they were made from (nothing of which refers back to it), and the number of modules.
_pickled: weakref.WeakKeyDictionary[FunctionType, tuple[bytes, tuple[object, ...], int]] = weakref.WeakKeyDictionary()


def cached(fn: Callable[..., Any], dumps: Callable[[object], bytes]) -> bytes:
    """Return `dumps(fn)`, or its last result if nothing has changed from which it was made."""
    if not isinstance(fn, FunctionType) or cloudpickle.list_registry_pickle_by_value():
        return dumps(fn)  # a user may register modules to go by value: then no name is enough
    parts = (fn.__code__, *(reference_to(fn) or _parts(fn)))
    modules = len(sys.modules)  # the submodules that a function finds in a package are sent too: there may be more now
    data, before, modules_before = _pickled.get(fn, (b"", (), 0))
    if modules != modules_before or len(parts) != len(before) or not all(map(is_, parts, before)):
        data = dumps(fn)
        if all(map(_is_constant, parts)):
            _pickled[fn] = data, parts, modules
    return data


def _parts(fn: FunctionType) -> Iterator[object]:
    """Return what a function that goes by value is pickled from."""
    yield from (fn.__module__, fn.__name__, fn.__qualname__, fn.__doc__, fn.__defaults__)
    names = details._extract_code_globals(fn.__code__)  # noqa: SLF001  # as it is pickled
    used = {name: fn.__globals__[name] for name in names if name in fn.__globals__}
    for named in (used, fn.__annotations__, fn.__kwdefaults__ or {}, fn.__dict__):
        yield from ("names", *named, "values", *named.values())
    yield from map(details._get_cell_contents, fn.__closure__ or ())  # noqa: SLF001


def _is_constant(part: object) -> bool:
    """Return whether the same object always makes the same bytes."""
    kind = type(part)
    if kind in _ATOMS or part is details._empty_cell_value:  # noqa: SLF001  # of a variable that is not set yet
        return True
    if kind is tuple:
        return all(map(_is_constant, part))  # type: ignore[call-overload]  # it is a tuple
    if isinstance(part, ModuleType):
        return sys.modules.get(part.__name__) is part
    if isinstance(part, BuiltinFunctionType):
        return isinstance(part.__self__, ModuleType)
    if isinstance(part, FunctionType):
        return reference_to(part) is not None
    return isinstance(part, type) and importable(part.__module__) and details._should_pickle_by_reference(part)  # noqa: SLF001
