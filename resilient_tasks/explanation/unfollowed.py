"""Find calls in a function's source whose function is only known while it runs."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from resilient_tasks import safely

#: Calls that look a function up while the flow runs.
_LOOKS_UP = frozenset({"getattr", "globals", "locals", "import_module", "__import__", "eval", "exec", "run_deployment"})
_LOOKS_UP_AS_METHOD = frozenset({"import_module", "run_deployment"})
#: Methods of a task that run it.
_RUNS = frozenset({"submit", "map", "delay", "outcome", "apply_async", "with_options", "serve"})
#: Built-in functions that return what they are given, or its items.
_HANDS_ON = frozenset(
    {
        *("enumerate", "zip", "list", "tuple", "set", "dict", "iter", "next", "reversed", "sorted", "filter"),
        *("min", "max"),
    }
)
#: The fields of an expression whose value, or an item of it, may be the expression's.
_HOLD: dict[type, tuple[str, ...]] = {
    **dict.fromkeys((ast.Attribute, ast.Subscript, ast.Starred, ast.Await, ast.NamedExpr), ("value",)),
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp), ("elt",)),
    **dict.fromkeys((ast.BoolOp, ast.Dict), ("values",)),
    **dict.fromkeys((ast.List, ast.Tuple, ast.Set), ("elts",)),
    ast.DictComp: ("value",),
    ast.IfExp: ("body", "orelse"),
}
#: What makes a task or a flow, in the modules that have it.
_MAKERS = frozenset({"resilient", "resilient_task", "resilient_flow", "task", "flow", "Task", "Flow"})


def unfollowed(fn: FunctionType, around: Mapping[str, Any], *, is_helper: bool) -> Iterator[str]:
    """Yield the calls of a function that cannot be followed, in words.

    Args:
        fn: the function.
        around: the variables around it.
        is_helper: whether other code calls it that is followed: its parameters are then known there.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    except (OSError, TypeError, SyntaxError, ValueError):
        yield "calls that its source would show: the source is not available"
        return
    yield from _Source(fn, around, tree, is_helper=is_helper).calls()


class _Source:
    """The source of one function."""

    def __init__(self, fn: FunctionType, around: Mapping[str, Any], tree: ast.AST, *, is_helper: bool) -> None:
        code = fn.__code__
        number = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
        self._parameters = {*code.co_varnames[: number + bool(code.co_flags & inspect.CO_VARKEYWORDS)]}
        path = fn.__qualname__.split(".")[:-1]
        if path and path[-1] != "<locals>":  # a method: its object is followed
            self._parameters.discard(code.co_varnames[0] if code.co_argcount else "")
        self._is_helper = is_helper
        self._variables: Mapping[str, Any] = {**vars(builtins), **fn.__globals__, **around}
        self._tree = tree
        self._top = next((node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)), None)
        self._set: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            for target, value in _bindings(node):
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        self._set.setdefault(name.id, []).append(value)

    def calls(self) -> Iterator[str]:
        """Yield what cannot be followed."""
        outside = {id(node) for each in getattr(self._top, "decorator_list", ()) for node in ast.walk(each)}
        for node in ast.walk(self._tree):
            if isinstance(node, _FUNCTIONS) and node is not self._top:
                outside |= {id(each) for each in node.decorator_list}
                if any(self._makes_a_task(each) for each in node.decorator_list):
                    yield f"{node.name}, which is decorated inside the flow"
            elif isinstance(node, ast.Call) and id(node) not in outside:
                yield from self._call(node)

    def _call(self, node: ast.Call) -> Iterator[str]:
        called = node.func
        name = _dotted(called)
        if self._makes_a_task(called) or (_looks_up(called) and not self._is_helper):
            yield f"what {name}(...) returns"
        elif isinstance(called, ast.Attribute) and called.attr in _RUNS:
            unknown = [*self._unknown(called.value)]
            yield from unknown
            if called.attr == "with_options" and not unknown and name:
                yield f"the options that {_dotted(called.value)} is given inside the flow (with_options)"
        elif not isinstance(called, ast.Attribute):
            yield from self._unknown(called)

    def _unknown(self, node: ast.AST | None, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        """Yield why it is not known which function a value is."""
        if isinstance(node, ast.Name):
            if node.id in self._set and node.id not in seen:
                for value in self._set[node.id]:
                    yield from self._unknown(value, seen | {node.id})
            elif node.id in self._parameters and not self._is_helper:
                yield f"{node.id}, which is a parameter"
        elif isinstance(node, ast.Call):
            yield from self._result(node, seen)
        else:
            for field in _HOLD.get(type(node), ()):
                inside = getattr(node, field)
                for each in inside if isinstance(inside, list) else [inside]:
                    yield from self._unknown(each, seen)

    def _result(self, node: ast.Call, seen: frozenset[str]) -> Iterator[str]:
        """Yield why it is not known which function a call returns."""
        called, value = node.func, self._value(node.func)
        if (isinstance(called, ast.Name) and called.id in _HANDS_ON) or value is functools.partial:
            for each in node.args[: 1 if value is functools.partial else None]:
                yield from self._unknown(each, seen)
        elif isinstance(called, ast.Attribute) and called.attr in _RUNS:
            yield from self._unknown(called.value, seen)
        elif safely.is_a(value, type):
            return  # an object of that class, which is followed
        elif safely.is_a(value, (FunctionType, MethodType)) or _looks_up(called) or self._makes_a_task(called):
            yield f"what {_dotted(called)}(...) returns"
        elif isinstance(called, ast.Attribute | ast.Call | ast.Name):
            yield from self._unknown(called.value if isinstance(called, ast.Attribute) else called, seen)

    def _makes_a_task(self, node: ast.AST) -> bool:
        while isinstance(node, ast.Call):
            node = node.func
        value = self._value(node)
        module, name = (str(safely.attribute(value, each, "")) for each in ("__module__", "__name__"))
        return name in _MAKERS and module.partition(".")[0] in {"resilient_tasks", "prefect"}

    def _value(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            return None if node.id in self._set or node.id in self._parameters else self._variables.get(node.id)
        if isinstance(node, ast.Attribute):
            found = self._value(node.value)
            return None if found is None else _static(found, node.attr)
        return None


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _bindings(node: ast.AST) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Yield the names that a node sets, and what it sets them to."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def _looks_up(called: ast.AST) -> bool:
    names = _LOOKS_UP if isinstance(called, ast.Name) else _LOOKS_UP_AS_METHOD
    return _dotted(called).rpartition(".")[2] in names


def _dotted(node: ast.AST) -> str:
    """Return the name of a function as its source has it; of a call, that of its function."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    return ""


@safely.or_none
def _static(value: Any, name: str) -> Any:
    return inspect.getattr_static(value, name, None)
