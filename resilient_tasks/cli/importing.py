"""Import the modules of the user that a command names, as `python -m` and `python FILE` find them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from resilient_tasks import safely
from resilient_tasks.cli.printing import UsageError

#: The modules that were loaded before the command loaded any.
_BEFORE = frozenset(sys.modules)


def module_named(name: str, what: str = "") -> ModuleType:
    """Import a module by its name, also from the current directory.

    Args:
        name: of the module.
        what: how a refusal begins, such as `--module my_flows`; default: the name.

    Raises:
        UsageError: it cannot be imported, or exits.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # as `python -m` does
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.") and not what:
            raise UsageError(
                f"There is no module {name}: give module:name, or a file such as flows.py:name."
            ) from error
        raise UsageError(f"{what or name} cannot be imported: {_why(error)}.") from error


def module_of(path: Path) -> ModuleType:
    """Import a file as a module of its name; its folder comes first where it imports others.

    A file of the same name from another folder is forgotten first, with what it imported from there.

    Raises:
        UsageError: there is none, it cannot be imported, or exits.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    name, file = path.stem, path.resolve()
    there = sys.modules.get(name)
    if there is not None and name not in _BEFORE:
        if _file_of(there) == file:
            return there
        _forget(_file_of(there).parent)
    if name in sys.modules:  # of Python or a library: it keeps its name
        name = f"{name}_"
    sys.path.insert(0, str(file.parent))  # as `python FILE` does
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a file of Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be imported: {_why(error)}.") from error
    return module


def _why(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f'it exits (SystemExit: {safely.text(error)}): put what a script does under if __name__ == "__main__"'
    return f"{type(error).__name__}: {safely.text(error)}"


def _forget(folder: Path) -> None:
    """Forget the modules of a folder, so that others of their names can be imported."""
    sys.path[:] = [each for each in sys.path if each != str(folder)]
    for name, module in [*sys.modules.items()]:
        if name not in _BEFORE and folder in _file_of(module).parents:
            del sys.modules[name]


def _file_of(module: ModuleType) -> Path:
    return Path(safely.attribute(module, "__file__") or "").resolve()
