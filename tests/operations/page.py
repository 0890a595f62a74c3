"""The commands that docs/operations.md shows, so that the tests run what a reader would type."""

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
