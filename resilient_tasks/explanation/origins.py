"""Tell the user's code from that of libraries, and import what a flow would import."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path
from types import FunctionType, ModuleType

from resilient_tasks import safely
from resilient_tasks.explanation.references import Import

_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")


class CannotImport(Exception):
    """A module that a flow imports cannot be followed. Its text says which, and why."""


@functools.cache
def is_of_a_library(file: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to this library; so does code without a file."""
    if file.startswith("<frozen") or not file:
        return True
    return any(file.startswith(folder) for folder in _folders()) or bool(
        {"site-packages", "dist-packages"}.intersection(Path(file).parts)
    )


def is_the_users(fn: FunctionType, root: FunctionType) -> bool:
    """Whether a function belongs to the user's project, as `root` does."""
    return not is_of_a_library(fn.__code__.co_filename) or _package(fn.__module__) == _package(root.__module__)


def is_the_users_class(kind: type, root: FunctionType) -> bool:
    """Whether a class belongs to the user's project, as `root` does."""
    module = safely.module_of(kind)
    if module == root.__module__ or _package(module) == _package(root.__module__):
        return True
    return not is_of_a_library(str(safely.attribute(sys.modules.get(module), "__file__") or ""))


def imported(wanted: Import, fn: FunctionType) -> ModuleType:
    """Return the module in which an import inside a function looks for names.

    A module of the user's that is not loaded yet is imported; one of a library is not, which may take long.

    Raises:
        CannotImport: it cannot be imported, or is a library that nothing has imported yet.
    """
    name = wanted.module
    if wanted.level:
        package = str(fn.__globals__.get("__package__") or "")
        try:
            name = importlib.util.resolve_name("." * wanted.level + name, package)
        except ImportError as error:
            raise CannotImport(f"{'.' * wanted.level}{wanted.module}, which cannot be imported: {error}") from None
    if name not in sys.modules:
        _import(name, fn)
    found = sys.modules[name if wanted.is_from else name.partition(".")[0]]
    for each in wanted.names if wanted.is_from else ():
        if each not in vars(found) and f"{name}.{each}" not in sys.modules and hasattr(found, "__path__"):
            _import(f"{name}.{each}", fn)
    return found


def _import(name: str, fn: FunctionType) -> None:
    top = name.partition(".")[0]
    try:
        if top not in sys.modules and top != _package(fn.__module__):
            spec = importlib.util.find_spec(top)
            places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
            if places and all(not place or is_of_a_library(place) for place in places):
                raise CannotImport(f"{top}, a library that only the function imports")  # noqa: TRY301  # passes below
        importlib.import_module(name)
    except CannotImport:
        raise
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {safely.text(error)}"
        raise CannotImport(f"{name}, which cannot be imported: {text}") from None


def _package(module: object) -> str:
    return str(module).partition(".")[0]


@functools.cache
def _folders() -> tuple[str, ...]:
    own = str(Path(__file__).parents[1])
    return tuple(f"{folder}{os.sep}" for folder in {own, *(sysconfig.get_path(name) for name in _PATHS)})
