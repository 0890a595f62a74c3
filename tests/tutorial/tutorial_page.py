"""The blocks of docs/tutorial.md, as a reader takes them: files to write and commands to type."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


class Block(NamedTuple):
    """A fenced block of the page: its language and its lines."""

    language: str
    lines: list[str]

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    @property
    def file(self):
        """The file that the block goes into, by its first line."""
        found = re.fullmatch(r"# (\w+\.py)", self.lines[0]) if self.language == "python" and self.lines else None
        return found[1] if found else None

    def commands(self):
        """Return the commands of the block in order, each with its remark and with what is shown below it."""
        found = []
        for line in self.lines:
            if line.startswith("$ "):
                command, _, remark = line.removeprefix("$ ").partition("    # ")
                found.append((command.strip(), remark, []))
            else:
                found[-1][2].append(line)
        return found


def blocks(text):
    """Return the blocks of a page in their order."""
    return [Block(language, body.splitlines()) for language, body in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text)]


def put_in(source, block):
    """Return the file after a reader put a block into it.

    What has the name, or imports from the module, of something that is there replaces it. What is new goes where the
    block shows it: before the next thing of the block that was there, or else after the last one.
    """
    there, new, last = _parts(source), [], None
    for key, text in _parts(block):
        at = next((index for index, (other, _) in enumerate(there) if other == key), None)
        if at is None:
            new.append((key, text))
            continue
        there[at : at + 1] = [*new, (key, text)]
        last, new = at + len(new), []
    at = len(there) if last is None else last + 1
    there[at:at] = new
    return "\n\n".join(text for _, text in there) + "\n"


def _parts(source):
    lines = source.splitlines()
    return [(_key(node), "\n".join(lines[_first(node) - 1 : node.end_lineno])) for node in ast.parse(source).body]


def _first(node):
    return min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])


def _key(node):
    match node:
        case ast.ImportFrom(module=module):
            return "from", module
        case ast.Import(names=[name]):
            return "import", name.name
        case ast.Assign(targets=[ast.Name(id=name)]):
            return "name", name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return "name", name
        case ast.If():
            return "main", ""
    raise ValueError(f"a tutorial needs no {ast.unparse(node)!r}")
