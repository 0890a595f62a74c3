"""The mutants of a file: the same code with one change."""

import ast
import copy
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PAIRS = "Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn, And Or, Add Sub, Mult Div, BitOr BitAnd, FloorDiv Mult, Mod Mult"
OPERATORS = {getattr(ast, one): getattr(ast, other) for one, other in (pair.split() for pair in PAIRS.split(", "))}
OPERATORS = {other: one for one, other in OPERATORS.items()} | OPERATORS
OTHER_FUNCTION = {"min": "max", "max": "min", "any": "all", "all": "any"}
#: Tests with changes of their own, which need not be negated as well.
CHANGED = ast.Compare | ast.BoolOp | ast.UnaryOp
#: What only type checkers and readers see: fields, names, and methods that only write a line to the log.
SKIPPED = {"annotation", "returns", "decorator_list", "bases", "format_spec"}
NAMES = {"__slots__", "__all__"}
LOGS = {"debug", "info", "warning", "error", "exception"}


class Mutant(NamedTuple):
    """One change.

    Attributes:
        key: the file, the function, the source line and the change: the same after edits elsewhere in the file.
        at_import: whether it is not inside a function.
        number: which of the file's mutants it is.
    """

    file: str
    line: int
    key: str
    at_import: bool
    number: int


class Source:
    """A file of the library, parsed."""

    def __init__(self, file):
        self.file, self.text = file, Path(file).read_text()
        self._tree = ast.parse(self.text)
        self._sites = list(_sites(self._tree, (), at_import=True))

    def mutants(self):
        """Yield all of them."""
        lines, seen = self.text.splitlines(), Counter()
        for number, (_, _, old, _, change, where, at_import) in enumerate(self._sites):
            key = f"{self.file}: {where}: {lines[old.lineno - 1].strip()} -> {change}"
            seen[key] += 1
            again = f" ({seen[key]})" if seen[key] > 1 else ""
            yield Mutant(self.file, old.lineno, key + again, at_import, number)

    def changed(self, number):
        """Return the code of the mutant with this number."""
        nodes, at, old, new, *_ = self._sites[number]
        nodes[at] = ast.fix_missing_locations(ast.copy_location(new, old))
        code = compile(self._tree, str(Path(self.file).resolve()), "exec", dont_inherit=True)
        nodes[at] = old
        return code


def _sites(node, where, *, at_import):
    """Yield where a node is, the node, a new one, the change as text, the function, and whether it acts at import."""
    for field, value in ast.iter_fields(node):
        here, outside = where, at_import
        if field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            here, outside = (*where, node.name), at_import and isinstance(node, ast.ClassDef)
        nodes, places = (value, range(len(value))) if isinstance(value, list) else (vars(node), [field])
        for at in places if field not in SKIPPED else ():
            child = nodes[at]
            if isinstance(child, ast.AST) and not _is_for_readers(child):
                for new in _changes(child):
                    yield nodes, at, child, new, ast.unparse(new).partition("\n")[0], ".".join(here), outside
                yield from _sites(child, here, at_import=outside)


def _is_for_readers(node):
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.JoinedStr():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in NAMES
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))):
            return name in LOGS
    return False


def _changes(node):
    """Yield a new node for each change of this very node."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in OPERATORS:
            yield _like(node, ops=[OPERATORS[type(operator)]()])
        case ast.BoolOp(op=operator):
            yield _like(node, op=OPERATORS[type(operator)]())
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in OPERATORS and not _has_text(node):
            yield _like(node, op=OPERATORS[type(operator)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield copy.copy(operand)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id=name)) if name in OTHER_FUNCTION:
            yield _like(node, func=ast.Name(OTHER_FUNCTION[name], ast.Load()))
        case _:
            yield from _of_statement(node)


def _of_statement(node):
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not isinstance(test, CHANGED):
            yield _like(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.AST() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Return(value=None) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _like(node, **fields):
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _has_text(node):
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))
