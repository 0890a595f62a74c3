"""Find the resilient tasks and functions that a function calls, from its code, its globals and its closure."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any

from resilient_tasks.explanation.subjects import Subject, subject_of

#: Calls that look a function up while the flow runs.
_DYNAMIC = frozenset({"getattr", "globals", "locals", "import_module", "__import__", "eval", "exec"})
#: Methods of a task that run it.
_RUNS = frozenset({"submit", "map", "delay", "outcome", "apply_async", "with_options"})


@dataclass
class Found:
    """What a function calls.

    Attributes:
        subjects: resilient tasks and functions, in the order of the code.
        missed: what could not be followed, in words.
    """

    subjects: list[Subject] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, thing: Any) -> bool:
        """Add `thing` if it is resilient; return whether it is."""
        subject = (
            None if isinstance(thing, type | ModuleType | FunctionType) and not _has_plan(thing) else subject_of(thing)
        )
        if subject is None or subject.kind == "pipeline":
            return False
        if all(subject.thing is not other.thing for other in self.subjects):
            self.subjects.append(subject)
        return True


def _has_plan(thing: Any) -> bool:
    return "__resilient__" in getattr(thing, "__dict__", {})


def plain(fn: Any) -> FunctionType | None:
    """Return the Python function behind a callable; None if there is none."""
    fn = inspect.unwrap(getattr(fn, "__func__", fn))
    if not isinstance(fn, FunctionType) and not isinstance(fn, type):
        fn = vars(type(fn)).get("__call__")
    return fn if isinstance(fn, FunctionType) else None


def codes_of(fn: FunctionType) -> Iterator[CodeType]:
    """Yield the code of a function, and of those that it defines."""
    left = [fn.__code__]
    while left:
        code = left.pop(0)
        yield code
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def helpers_of(fn: FunctionType) -> Iterator[FunctionType]:
    """Yield the plain functions of the same module that a function names."""
    for _, value in _named(fn):
        if isinstance(value, FunctionType) and not _has_plan(value) and value.__module__ == fn.__module__:
            yield value


def found_in(fn: Callable[..., Any], *, in_words: bool = False) -> Found:
    """Return the resilient tasks and functions that `fn` calls, also through helpers of its own module.

    Args:
        fn: the function.
        in_words: also read its source for calls that cannot be followed.
    """
    found = Found()
    function = plain(fn)
    if function is None:
        return found
    helpers = _look_into(function, found)
    for helper in helpers:
        for further in _look_into(helper, found):
            if further not in helpers and further is not function and in_words:
                found.missed.append(
                    f"{further.__name__}, which {helper.__name__} calls: helpers are followed one level"
                )
    if in_words:
        found.missed += _dynamic_calls(function)
    found.missed = [*dict.fromkeys(found.missed)]
    return found


def _look_into(fn: FunctionType, found: Found) -> list[FunctionType]:
    """Add what a function names itself; return the helpers of its module that it names."""
    helpers = []
    for name, value in _named(fn):
        if found.add(value):
            continue
        if isinstance(value, FunctionType) and value.__module__ == fn.__module__:
            helpers.append(value)
        elif isinstance(value, FunctionType) and _is_of_the_same_project(value, fn):
            found.missed.append(f"{name}, which is in the module {value.__module__}")
        else:
            for part in _parts(value, fn):
                found.add(part)
    return helpers


def _named(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names in a function's code that are globals, or variables around it, with their values."""
    around = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
    for name, cell in around.items():
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet
            continue
    seen = set()
    for code in codes_of(fn):
        for name in code.co_names:
            if name in fn.__globals__ and name not in seen:
                seen.add(name)
                yield name, fn.__globals__[name]


def _parts(value: Any, fn: FunctionType) -> Iterable[Any]:
    """Return what may be resilient inside of a global: items of a container, attributes that the code names."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    names = {name for code in codes_of(fn) for name in code.co_names}
    if isinstance(value, ModuleType):
        return [vars(value)[name] for name in names if name in vars(value)]
    if isinstance(value, FunctionType | type) or type(value).__module__ in {"builtins", "typing"}:
        return []
    return [vars(kind)[name] for kind in type(value).__mro__[:-1] for name in names if name in vars(kind)]


def _is_of_the_same_project(other: FunctionType, fn: FunctionType) -> bool:
    mine, theirs = (str(each.__module__).partition(".")[0] for each in (fn, other))
    return mine == theirs and mine not in {"resilient_tasks", "prefect"}


def _dynamic_calls(fn: FunctionType) -> Iterator[str]:
    """Yield calls in the source whose function is only known while the flow runs."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError):
        yield "calls that its source would show: the source is not available"
        return
    parameters = {*fn.__code__.co_varnames[: fn.__code__.co_argcount + fn.__code__.co_kwonlyargcount]}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in parameters:
            yield f"{called.id}, which is a parameter"
        elif isinstance(called, ast.Name) and called.id in _DYNAMIC:
            yield f"what {called.id}(...) returns"
        elif isinstance(called, ast.Attribute) and called.attr in _RUNS and isinstance(called.value, ast.Name):
            if called.value.id in parameters:
                yield f"{called.value.id}, which is a parameter"
            elif called.attr == "with_options":
                yield f"the options that {called.value.id} is given inside the flow (with_options)"
