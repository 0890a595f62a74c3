"""The commands that docs/operations.md shows, so that the tests run what a reader would type."""

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


class Shown(NamedTuple):
    """A command of the page, and the lines that the page shows below it."""

    command: str
    output: list[str]


def shown_in(section: str) -> list[Shown]:
    """Return the commands in the `console` blocks below the heading `## section`, in their order."""
    _, found, after = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")
    assert found, f"docs/operations.md has no section {section!r}"
    commands: list[Shown] = []
    inside = False
    for line in after.partition("\n## ")[0].splitlines():
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            commands.append(Shown(line.removeprefix("$ ").partition("  #")[0].strip(), []))
        elif inside and commands:
            commands[-1].output.append(line)
    return commands


def file_in(section: str) -> str:
    """Return the first Python block below the heading `## section`: a file that a reader would write."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return text.partition("```python\n")[2].partition("```")[0]


def agrees(shown: list[str], printed: str) -> bool:
    """Tell whether what was printed is what the page shows.

    On the page, `…` stands for any text of a line, and alone in a line for any lines. Empty lines, the width of spaces
    and the rules of tables are not compared.
    """
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line == "…" else re.escape(line).replace("…", r"[^\n]*") + r"\n" for line in _lines(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed.splitlines()))) is not None


_RULES = re.compile(r"[━─┏┓┗┛┡┩╇┳┻└┘┴┬┌┐├┤┼╭╮╰╯ ]+")


def _lines(lines: list[str]) -> list[str]:
    plain = (" ".join(line.replace("┃", "│").split()) for line in lines)
    return [line for line in plain if line and not _RULES.fullmatch(line)]
