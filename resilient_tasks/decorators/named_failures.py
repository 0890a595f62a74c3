"""Failures by name, as a file writes them: `on = ["TRANSIENT", "httpx.ReadTimeout"]`."""

from __future__ import annotations

import builtins
import difflib
from importlib import import_module
from typing import Any

from resilient_tasks.core import errors
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.failures import describe
from resilient_tasks.core.wording import joined

_KINDS = tuple(Kind.__members__)
_FORMS = f"the names of kinds ({joined(_KINDS)}) and of exception types, such as httpx.ReadTimeout"


def failures_named(value: Any) -> list[Kind | type[Exception]]:
    """Return the kinds and exception types of this name, or these names.

    Raises:
        PolicyError: a name is neither, or its module cannot be imported.
    """
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise PolicyError(f"it takes {_FORMS}, not {value!r}")
    return [_named(name.strip()) for name in names]


def _named(name: str) -> Kind | type[Exception]:
    if name.upper() in _KINDS:
        return Kind[name.upper()]
    found = _imported(name) if "." in name or ":" in name else getattr(builtins, name, _ours(name))
    if found is None:
        raise PolicyError(f"{name!r} is no kind of failure and no built-in exception{_instead(name)}")
    if not isinstance(found, type) or not issubclass(found, Exception):
        raise PolicyError(f"{name!r} is no exception type: it takes {_FORMS}")
    return found


def _ours(name: str) -> Any:
    """Return an error of this library."""
    return None if name.startswith("_") else getattr(errors, name, None)


def _imported(name: str) -> Any:
    """Return what `package.module.Name`, or `package.module:Name`, names."""
    module, colon, inner = name.partition(":")
    parts = module.split(".")
    for length in range(len(parts) if colon else len(parts) - 1, 0, -1):
        place = ".".join(parts[:length])
        try:
            found: Any = import_module(place)
        except ModuleNotFoundError as problem:
            if problem.name is not None and (place == problem.name or place.startswith(f"{problem.name}.")):
                continue  # it may be a class of the module before it
            raise PolicyError(f"{name!r} cannot be imported: {describe(problem)}") from None
        except Exception as problem:
            raise PolicyError(f"{name!r} cannot be imported: {describe(problem)}") from None
        for part in (*parts[length:], *(inner.split(".") if inner else ())):
            if not hasattr(found, part):
                raise PolicyError(f"{name!r}: {_where(found)} has no {part}{_alike(part, dir(found))}{_still(found)}")
            found = getattr(found, part)
        return found
    raise PolicyError(f"{name!r}: there is no module {parts[0]}. Install it, or correct the name")


def _where(found: Any) -> str:
    return str(getattr(found, "__name__", found))


def _still(found: Any) -> str:
    """Return a hint for a module that is being imported, and reads this name meanwhile."""
    spec = getattr(found, "__spec__", None)
    if not getattr(spec, "_initializing", False):
        return ""
    return ". The module is being imported: define the exception above the decorator that needs it"


def _instead(name: str) -> str:
    exceptions = [each for each in dir(builtins) if isinstance(getattr(builtins, each), type)]
    alike = _alike(name if name[:1].isupper() and not name.isupper() else name.upper(), [*_KINDS, *exceptions])
    return alike or ": write its module too, as in httpx.ReadTimeout"


def _alike(word: str, known: list[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f": did you mean {found[0]}?" if found else ""
