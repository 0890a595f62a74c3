"""Read from bytecode what the code of a function names: variables, the attributes asked of them, and its imports."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import NamedTuple

#: The name of the object that `super()` returns.
SUPER = "super()"

_OF_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_OF_LOCALS = frozenset(
    {
        *("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_LOAD_FAST", "STORE_FAST_LOAD_FAST"),
        *("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"),
    }
)
_OF_SUPER = frozenset({"LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD"})
#: They stand between instructions that belong together.
_SILENT = frozenset({"EXTENDED_ARG", "CACHE", "NOP", "PRECALL"})


class Reference(NamedTuple):
    """A variable, and the attributes that are asked of it: `pkg.tasks.fetch` is `pkg`, and `tasks`, `fetch`.

    Attributes:
        name: of the variable, or `SUPER`.
        is_local: whether it is one of the function, or of a function around it.
        attributes: in the order of the code.
        is_called: whether the last attribute is called as a method.
    """

    name: str
    is_local: bool
    attributes: tuple[str, ...]
    is_called: bool


class Import(NamedTuple):
    """What an import inside a function binds to a name.

    Attributes:
        module: that is imported.
        level: how many dots stand before it.
        is_from: whether `names` are sought in the module itself; else in the topmost package of it.
        names: what is taken from it.
    """

    module: str
    level: int
    is_from: bool
    names: tuple[str, ...]


@dataclass
class References:
    """What a function's code names.

    Attributes:
        named: its references, in the order of the code.
        imports: what it imports itself, by the name that it gives it.
        loose: attributes that are asked of what has no name, such as the result of a call.
    """

    named: list[Reference] = field(default_factory=list)
    imports: dict[str, Import] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)


def codes_of(fn: FunctionType) -> Iterator[CodeType]:
    """Yield the code of a function, and of those that it defines."""
    left = [fn.__code__]
    while left:
        code = left.pop(0)
        yield code
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def imports_itself(fn: FunctionType) -> bool:
    """Whether the code of a function may import something; cheap, and in doubt True."""
    return any(dis.opmap["IMPORT_NAME"] in code.co_code[::2] for code in codes_of(fn))


def references_of(fn: FunctionType) -> References:
    """Return what a function's code, and that of the functions it defines, names."""
    found = References()
    for code in codes_of(fn):
        _Reader(found).read(code)
    return found


def loads_method(step: dis.Instruction) -> bool:
    """Whether an instruction loads an attribute in order to call it."""
    if step.opname in {"LOAD_METHOD", "LOAD_SUPER_METHOD"}:
        return True
    return step.opname == "LOAD_ATTR" and sys.version_info >= (3, 12) and bool((step.arg or 0) & 1)


class _Reader:
    """Read one code object; instructions are read once, in their order, whatever they jump to."""

    def __init__(self, found: References) -> None:
        self._found = found
        self._open: Reference | None = None
        self._import: Import | None = None
        self._constants = [None, None]

    def read(self, code: CodeType) -> None:
        before = ""
        for step in dis.get_instructions(code):
            name = step.opname
            if name in _SILENT:
                continue
            if name in _OF_SUPER:
                self._begin(SUPER, is_local=True)
                self._attribute(step)
            elif name in {"LOAD_ATTR", "LOAD_METHOD"}:
                if before == "CALL" and "super" in code.co_names:  # how Python 3.11 writes `super().name`
                    self._begin(SUPER, is_local=True)
                self._attribute(step)
            elif not self._reads_import(step):
                self._end()
                if name in _OF_GLOBALS or name in _OF_LOCALS:
                    self._load(step)
            before = name
        self._end()

    def _load(self, step: dis.Instruction) -> None:
        names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if step.opname == "STORE_FAST_LOAD_FAST":
            names = names[1:]
        for name in names:
            self._begin(str(name), is_local=step.opname in _OF_LOCALS)

    def _begin(self, name: str, *, is_local: bool) -> None:
        self._end()
        self._open = Reference(name, is_local, (), is_called=False)

    def _attribute(self, step: dis.Instruction) -> None:
        if self._open is None:
            self._found.loose.append(str(step.argval))
            return
        attributes = (*self._open.attributes, str(step.argval))
        self._open = self._open._replace(attributes=attributes, is_called=loads_method(step))

    def _end(self) -> None:
        if self._open is not None:
            self._found.named.append(self._open)
            self._open = None

    def _reads_import(self, step: dis.Instruction) -> bool:
        """Read an instruction if it is part of an import, or may be; return whether that is all that it is."""
        name, value = step.opname, step.argval
        if name == "LOAD_CONST":
            self._constants = [self._constants[1], value]
        elif name == "IMPORT_NAME":
            level, names = self._constants
            self._import = Import(value, level or 0, bool(names), ())
        elif name == "IMPORT_FROM" and self._import is not None:
            before = () if self._import.is_from else self._import.names
            self._import = self._import._replace(names=(*before, value))
        elif name.startswith("STORE_") and self._import is not None:
            names = value if isinstance(value, tuple) else (value,)
            self._found.imports[str(names[0])] = self._import
            if not self._import.is_from:
                self._import = None
            return name != "STORE_FAST_LOAD_FAST"
        elif name not in {"SWAP", "POP_TOP"}:
            self._import = None
            return False
        elif name == "POP_TOP" and self._import is not None and self._import.is_from:
            self._import = None
        self._end()
        return True
