"""What `resilient-tasks --help` knows of each command, as the tables of docs/command-line.md."""

import argparse
from collections.abc import Iterator

from resilient_tasks.cli import _parser


def commands(parser=None, words=()) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Give each command that can be run: its words, its parser, and the help that the command above gives for it."""
    parser = parser or _parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help for each in action._choices_actions}
            for name, below in action.choices.items():
                inside = list(commands(below, (*words, name)))
                yield from inside or [(" ".join((*words, name)), below, helps[name])]


def table(parser) -> str:
    """Return the table of a command's arguments; empty if it has none."""
    rows = [_row(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    return "".join(["| argument | meaning |\n|---|---|\n", *rows]) if rows else ""


def _row(action):
    taken = action.metavar or action.dest.upper()
    taken = taken if isinstance(taken, str) else " ".join(taken)
    name = ", ".join(action.option_strings) or action.dest.upper()
    if action.option_strings and action.nargs != 0:
        name += f" {taken}"
    meaning = action.help + (" (required)" if action.required and action.option_strings else "")
    meaning = meaning.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")
    return f"| `{name}` | {meaning} |\n"
