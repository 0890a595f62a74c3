"""Find the resilient tasks and functions that a function calls, from its code, its globals and its closure."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType, NoneType
from typing import Any

from resilient_tasks import safely
from resilient_tasks.decorators.decorate import plan_of
from resilient_tasks.explanation.origins import (
    CannotImport,
    imported,
    is_of_a_library,
    is_the_users,
    is_the_users_class,
)
from resilient_tasks.explanation.references import SUPER, Reference, codes_of, imports_itself, references_of
from resilient_tasks.explanation.subjects import Subject, of_prefects_own_task, subject_of
from resilient_tasks.explanation.unfollowed import unfollowed

#: The class of a method of a class that a function defines.
_HIDDEN: Any = object()
#: They hold nothing.
_PLAIN = frozenset({NoneType, bool, int, float, complex, str, bytes, bytearray, range, BuiltinFunctionType, Ellipsis})
_CONTAINERS: tuple[Any, ...] = (dict, MappingProxyType, list, tuple, set, frozenset, deque)
_PROPERTIES = (property, functools.cached_property)
_WRAPPERS = (*_PROPERTIES, classmethod, functools.partial, functools.partialmethod)
#: The methods that Python calls by itself.
_UNNAMED = (
    *("__new__", "__init__", "__post_init__", "__call__", "__enter__", "__exit__", "__aenter__", "__aexit__"),
    *("__iter__", "__next__", "__aiter__", "__anext__", "__getitem__"),
)
#: The most items of a container that are looked at.
_MOST_ITEMS = 10_000
_NONE: Any = object()


@dataclass
class Found:
    """What a function calls.

    Attributes:
        subjects: resilient tasks and functions, in the order of the code; tasks of Prefect's own that call some.
        missed: what could not be followed, in words.
        functions: the function, and the user's plain ones that it calls.
    """

    subjects: list[Subject] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    functions: list[FunctionType] = field(default_factory=list)

    def add(self, thing: Any) -> bool:
        """Add `thing` if it is resilient; return whether it is."""
        if safely.is_a(thing, (type, ModuleType)) or (safely.is_a(thing, FunctionType) and plan_of(thing) is None):
            return False
        subject = subject_of(thing)
        if subject is None or subject.kind == "pipeline":
            return False
        self.append(subject)
        return True

    def append(self, subject: Subject) -> None:
        """Add a subject that is not there yet."""
        if all(subject.thing is not other.thing for other in self.subjects):
            self.subjects.append(subject)


def plain(fn: Any) -> FunctionType | None:
    """Return the Python function behind a callable; None if there is none."""
    fn = inspect.unwrap(getattr(fn, "__func__", fn))
    if isinstance(fn, functools.partial):
        return plain(fn.func)
    if not isinstance(fn, FunctionType) and not isinstance(fn, type):
        fn = vars(type(fn)).get("__call__")
    return fn if isinstance(fn, FunctionType) else None


def found_in(fn: Callable[..., Any], *, in_words: bool = False, within: frozenset[int] = frozenset()) -> Found:
    """Return the resilient tasks and functions that `fn` calls, also through other functions of the user's.

    Args:
        fn: the function.
        in_words: also say which calls cannot be followed.
        within: the ids of the tasks of Prefect's own that are being looked into.
    """
    function = plain(fn)
    if function is None:
        return Found()
    search = _Search(function, within, in_words=in_words)
    search.run(getattr(fn, "__self__", None))
    search.found.missed = [*dict.fromkeys(search.found.missed)]
    return search.found


class _Search:
    """One search: functions still to be looked into, and the objects met on the way."""

    def __init__(self, root: FunctionType, within: frozenset[int], *, in_words: bool) -> None:
        self.found = Found()
        self._root = root
        self._within = within
        self._in_words = in_words
        self._left: deque[tuple[FunctionType, Any]] = deque()
        self._seen: set[object] = set()
        self._objects: list[Any] = []
        self._loose: dict[str, None] = {}

    def run(self, owner: Any = None) -> None:
        """Look into all functions; then ask the objects for the attributes that code asks of values without a name."""
        self._queue(self._root, owner)
        asked = 0
        while self._left or asked < len(self._objects) * len(self._loose):
            while self._left:
                self._look_into(*self._left.popleft())
            asked = len(self._objects) * len(self._loose)
            for thing in [*self._objects]:
                for name in [*self._loose]:
                    if (member := _member(thing, name)) is not _NONE:
                        self._take(member, thing)

    def _queue(self, fn: FunctionType, owner: Any) -> None:
        if not safely.is_a(owner, type):
            owner = owner if owner is not None else _class_of(fn)
        if self._is_new((fn.__code__, id(owner))) and (fn is self._root or is_the_users(fn, self._root)):
            self._left.append((fn, owner))

    def _is_new(self, key: object) -> bool:
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _look_into(self, fn: FunctionType, owner: Any) -> None:
        self.found.functions.append(fn)
        for value in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
            self._take(value)
        if "__wrapped__" in vars(fn):
            self._take(vars(fn)["__wrapped__"])
        around = dict(_around(fn))
        if self._in_words:
            suffix = "" if fn is self._root else f", in {fn.__name__}"
            self.found.missed += [f"{each}{suffix}" for each in unfollowed(fn, around, is_helper=bool(suffix))]
        if owner is not None or around or imports_itself(fn) or self._names_something(fn):
            self._read(fn, owner, around)

    def _names_something(self, fn: FunctionType) -> bool:
        """Whether one of the globals that a function names may lead to something resilient."""
        names = {name for code in codes_of(fn) for name in code.co_names}
        return any(self._may_lead(fn.__globals__[name], names) for name in names if name in fn.__globals__)

    def _may_lead(self, value: Any, names: set[str], depth: int = 0) -> bool:
        if type(value) is ModuleType:
            inside = vars(value)
            if "__getattr__" in inside and not is_of_a_library(str(inside.get("__file__") or "")):
                return True
            return depth > 8 or any(self._may_lead(inside[name], names, depth + 1) for name in names if name in inside)
        if type(value) is FunctionType:
            return "__resilient__" in vars(value) or is_the_users(value, self._root)
        return type(value) not in _PLAIN and not (type(value) is type and not is_the_users_class(value, self._root))

    def _read(self, fn: FunctionType, owner: Any, around: Mapping[str, Any]) -> None:
        references = references_of(fn)
        for name in references.loose:
            self._loose[name] = None
        myself = next(iter(fn.__code__.co_varnames[: fn.__code__.co_argcount]), "") if owner is not None else ""
        for reference in references.named:
            name, names = reference.name, reference.attributes
            if name == SUPER:
                self._of_super(fn, owner, names)
            elif reference.is_local and name == myself:
                self._of_myself(owner, reference)
            elif reference.is_local and name in around:
                self._follow(around[name], names)
            elif name in references.imports:
                self._of_import(fn, references.imports[name], names)
            elif not reference.is_local and name in fn.__globals__:
                self._follow(fn.__globals__[name], names)
            else:
                self._loose |= dict.fromkeys(names)

    def _of_import(self, fn: FunctionType, wanted: Any, names: tuple[str, ...]) -> None:
        try:
            module = imported(wanted, fn)
        except CannotImport as error:
            self._miss(str(error))
        else:
            self._follow(module, (*wanted.names, *names))

    def _of_super(self, fn: FunctionType, owner: Any, names: tuple[str, ...]) -> None:
        kind = owner if safely.is_a(owner, type) else type(owner)
        here = _class_of(fn)
        line = kind.__mro__ if owner is not None and owner is not _HIDDEN else ()
        above = line[line.index(here) + 1 :] if here in line else line[1:]
        for base in above:
            if (member := vars(base).get(names[0], _NONE)) is not _NONE:
                self._take(member, owner)
                return

    def _of_myself(self, owner: Any, reference: Reference) -> None:
        name, names = reference.name, reference.attributes
        if not names:
            return
        said = ".".join((name, *names))
        if owner is _HIDDEN:
            self._loose |= dict.fromkeys(names)
            if reference.is_called:
                self._miss(f"{said}, which is a method of a class inside a function")
            return
        self._note(owner)
        if self._follow(owner, names) or not reference.is_called:
            return
        kind = owner if safely.is_a(owner, type) else type(owner)
        declared = _declared(kind, names[0]) if len(names) > 1 else None
        if declared is not None:
            self._take(declared)
        elif not any(_member(thing, names[-1]) is not _NONE for thing in self._known_to(owner)):
            self._miss(f"{said}, which the class {kind.__name__} does not have")

    def _miss(self, said: str) -> None:
        if self._in_words:
            self.found.missed.append(said)

    def _known_to(self, owner: Any) -> list[Any]:
        """Return the objects that the functions queued so far name: an object's `__init__` makes what it holds."""
        while self._left:
            self._look_into(*self._left.popleft())
        return [thing for thing in self._objects if thing is not owner]

    def _follow(self, value: Any, names: tuple[str, ...]) -> bool:
        """Take what the attributes of a value lead to; return whether it has them all."""
        owner = None
        for number, name in enumerate(names):
            if self._take_resilient(value):
                return True
            self._take(value, owner)
            member = _member(value, name)
            if member is _NONE or safely.is_a(member, _PROPERTIES):
                self._take(member, value)
                self._loose |= dict.fromkeys(names[number:])
                if member is _NONE and safely.is_a(_member(type(value), "__getattr__"), FunctionType):
                    self._miss(f"{name}, which {type(value).__name__}.__getattr__ returns")
                return member is not _NONE or not safely.is_a(value, type)
            owner, value = value, member
        self._take(value, owner)
        return True

    def _take_resilient(self, value: Any) -> bool:
        if type(value) in _PLAIN:
            return False
        if self.found.add(value):
            return True
        own = of_prefects_own_task(value)
        if own is None:
            return False
        if id(value) not in self._within and self._is_new(("task", id(value))):
            calls = found_in(own.fn, in_words=self._in_words, within=self._within | {id(value)})  # type: ignore[arg-type]
            if calls.subjects:
                self.found.append(own)
            else:
                self.found.missed += [f"{each}, in {own.name}" for each in calls.missed]
        return True

    def _take(self, value: Any, owner: Any = None) -> None:
        """Add what is resilient in a value, and queue what it would call."""
        if value is _NONE or type(value) in _PLAIN or self._take_resilient(value):
            return
        if safely.is_a(value, FunctionType):
            self._queue(value, owner)
        elif safely.is_a(value, MethodType):
            self._take(value.__func__, value.__self__)
        elif safely.is_a(value, staticmethod):
            self._take(value.__func__)
        elif safely.is_a(value, _WRAPPERS):
            for each in _wrapped(value):
                self._take(each, owner)
        elif not safely.is_a(value, ModuleType):
            self._take_object(value)

    def _take_object(self, value: Any) -> None:
        if safely.is_a(value, _CONTAINERS) and self._is_new(("items", id(value))):
            for number, each in enumerate(_items(value)):
                if number == _MOST_ITEMS:
                    self._miss(f"the items of a {type(value).__name__} behind the first {_MOST_ITEMS:,}")
                    break
                self._take(each)
        kind = value if safely.is_a(value, type) else type(value)
        if is_the_users_class(kind, self._root):
            self._note(value)

    def _note(self, value: Any) -> None:
        """Keep an object or a class, and queue the methods that Python calls by itself."""
        if self._is_new(("object", id(value))):
            self._objects.append(value)
            for name in _UNNAMED:
                member = _member(value, name)
                if safely.is_a(member, FunctionType) and not self._is_generated(member):
                    self._queue(member, value)

    def _is_generated(self, fn: FunctionType) -> bool:
        """Whether a method is one that a decorator such as `dataclass` wrote: it calls nothing of the user's."""
        file = fn.__code__.co_filename
        return file.startswith("<") and file != self._root.__code__.co_filename


def _class_of(fn: FunctionType) -> Any:
    """Return the class in which a function is defined; None if in none, `_HIDDEN` if in one inside a function."""
    *path, name = fn.__qualname__.split(".")
    if not path or path[-1] == "<locals>":
        return None
    if "<locals>" in path:
        return _HIDDEN
    thing: Any = fn.__globals__.get(path[0])
    for part in path[1:]:
        thing = _member(thing, part)
    if not safely.is_a(thing, type) or safely.is_a(_member(thing, name), staticmethod):
        return None
    return thing


def _declared(kind: type, name: str) -> type | None:
    """Return the class that an attribute is annotated with, as a class or as a dotted name; None if not known."""
    for base in kind.__mro__:
        declared = vars(base).get("__annotations__", {}).get(name)
        if safely.is_a(declared, type):
            return declared
        if safely.is_a(declared, str) and declared.replace(".", "").isidentifier():
            first, *rest = declared.split(".")
            found = vars(sys.modules.get(base.__module__, builtins)).get(first, vars(builtins).get(first, _NONE))
            for part in rest:
                found = _NONE if found is _NONE else _member(found, part)
            return found if safely.is_a(found, type) else None
    return None


def _around(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables around a function."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet
            continue


def _wrapped(value: Any) -> tuple[Any, ...]:
    """Return the functions in a wrapper of `functools` or of a class."""
    if safely.is_a(value, classmethod):
        return (value.__func__,)
    if safely.is_a(value, property):
        return (value.fget,)
    if safely.is_a(value, functools.cached_property):
        return (value.func,)
    return (value.func, *value.args, *value.keywords.values())


@safely.or_none
def _static(value: Any, name: str) -> tuple[Any]:
    """Return an attribute without running code of the user's, in a tuple."""
    return (inspect.getattr_static(value, name, _NONE),)


def _member(value: Any, name: str) -> Any:
    if safely.is_a(value, ModuleType):
        inside = vars(value)
        lazy = name not in inside and not is_of_a_library(str(inside.get("__file__") or ""))
        return safely.attribute(value, name, _NONE) if lazy else inside.get(name, _NONE)
    found = _static(value, name)
    if found is None:
        return _NONE
    return safely.attribute(value, name, _NONE) if inspect.ismemberdescriptor(found[0]) else found[0]


def _items(container: Any) -> Iterator[Any]:
    """Yield the items of a container, and the keys of a mapping, whatever its own class makes of that."""
    for base in _CONTAINERS:
        if not safely.is_a(container, base):
            continue
        yield from base.__iter__(container)
        if base in {dict, MappingProxyType}:
            yield from base.values(container)
        return
