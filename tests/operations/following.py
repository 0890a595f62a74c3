"""Follows a section of the page on operations: writes its files, runs its commands, and compares what they print."""

import doctest
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from operations_page import PAGE, shown_in
from running import Running, eventually, run, words_of

_ALIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FILE = re.compile(r"^```(?:py|yaml|json|text)\n(?:# (?P<name>[\w.-]+)\n)(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def files_in(section):
    """Return the files that a section shows: fenced blocks whose first line is a comment with a file's name."""
    after = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {found["name"]: found["text"] for found in _FILE.finditer(after)}


#: What Prefect adds on a busy machine.
_NOISE = re.compile(r"^.*EventsWorker - Still processing items.*\n?", re.MULTILINE)


@dataclass
class Reader:
    """A person who types what the page says, in one folder and one shell.

    Attributes:
        folder: where the files lie and the commands run.
        env: the shell's variables; `export` on the page adds to them.
        known: what the page has other words for, such as `BATCH` for an id.
        staying: commands that stay until they are ended, by their first words.
        printed: what each command printed.
    """

    folder: Path
    env: dict[str, str]
    known: dict[str, str] = field(default_factory=dict)
    staying: dict[str, Running] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)

    def write(self, section, **instead):
        """Write the files of a section, with some texts replaced by others."""
        for name, text in files_in(section).items():
            for old, new in instead.get(name.replace(".", "_"), {}).items():
                assert old in text, f"{name} has no {old!r}"
                text = text.replace(old, new)  # noqa: PLW2901 - each after the other
            (self.folder / name).write_text(text)

    def follow(self, section, before=None, stays=()):
        """Run the commands of a section in order.

        Args:
            section: Its heading.
            before: What to do before a command, by its beginning.
            stays: The beginnings of commands that stay: they are awaited until they have printed what is shown.
        """
        for shown in shown_in(section):
            for beginning, do in (before or {}).items():
                if shown.command.startswith(beginning):
                    do()
            self.type(shown, stays=shown.command.startswith(tuple(stays)))

    def type(self, shown, *, stays=False):
        """Type one command, and compare what it prints with what is shown."""
        command = shown.command
        for name, value in self.known.items():
            command = command.replace(name, value)
        if command.startswith("pip install"):  # done before
            return
        if command.startswith("export "):
            self.env.update(word.partition("=")[::2] for word in shlex.split(command)[1:])
            return
        want = "\n".join(shown.output).strip()
        if stays:
            self.staying[command] = Running(
                words_of(command), dict(self.env), self.folder, f"staying-{len(self.staying)}"
            )
            eventually(lambda: is_alike(want, self.staying[command].output.read_text()))
            return
        got = run(words_of(command), self.env, self.folder)
        self.printed[command] = got
        assert is_alike(want, got), f"$ {command}\n{got}\n--- and the page shows:\n{want}"

    def stop(self):
        """End what stays."""
        for process in self.staying.values():
            process.stop()


def is_alike(want, got):
    """Tell whether printed text is what the page shows: `...` stands for anything, and a line of it for any lines."""
    got = _NOISE.sub("", got)
    want = re.sub(r"\A\.\.\.\n|\n\.\.\.(?=\n|\Z)", "...", want.strip())
    return doctest.OutputChecker().check_output(f"{want}\n", f"{got.strip()}\n", _ALIKE)
