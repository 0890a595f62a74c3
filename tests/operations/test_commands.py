"""The commands of the page on operations, typed as they stand there, and what they print.

One server serves them all: it is started as the page says, used by the commands of "Then and now", and reset.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest
from operations_page import PAGE, agrees, file_in, shown_in
from running import answers, environment, eventually, free_port, masked, path_with, run, words_of

ROOT = Path(__file__).parents[2]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Terminal:
    """Runs the page's commands in an empty folder and home, on another port than the page's 4200."""

    def __init__(self, folder):
        self.folder, self.port = folder, str(free_port())
        self.run_id = self.schedule_id = ""
        kept = {
            "RESILIENT_TASKS_STORE": f"sqlite:///{folder}/states.db",
            "RESILIENT_TASKS_QUARANTINE": folder / "quarantine",
            "RESILIENT_TASKS_HOME": folder / "kept",
        }
        self.env = environment(folder / "home", PYTHONPATH=path_with(ROOT), **kept)
        self.differing = {}

    def type(self, section, first="", until=""):
        """Type the commands of a section, from the one that begins with `first` to the one before `until`."""
        differing, commands = self.differing.setdefault(section, []), shown_in(section)
        ends = [at for at, shown in enumerate(commands) if until and shown.command.startswith(until)]
        begins = [at for at, shown in enumerate(commands) if shown.command.startswith(first)]
        for shown in commands[begins[0] : ends[0] if ends else None]:
            printed = self.printed_by(shown.command)
            if not agrees(shown.output, printed):
                differing.append(f"$ {shown.command}\n{printed}")

    def printed_by(self, command):
        """Run a command, and return what it prints, with the page's port and ids masked."""
        ids = {"<id of the run>": self.run_id, "<id of the schedule>": self.schedule_id}
        for its, ours in {"4200": self.port, **ids}.items():
            command = command.replace(its, ours)
        printed = run(words_of(command), self.env, self.folder, within=300, status=None)
        if command.startswith("prefect deployment run"):
            self.run_id = UUID.search(printed)[0]
        if command.startswith("prefect deployment schedule ls"):
            self.schedule_id = UUID.search(printed)[0]
        if "--background" in command:
            eventually(lambda: answers(f"http://127.0.0.1:{self.port}/api"), 300)
        return masked(printed).replace(self.port, "4200")


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """Everything, typed once; the tests look at what was printed."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    terminal = Terminal(tmp_path_factory.mktemp("terminal"))
    (terminal.folder / "monthly.py").write_text(file_in("Then and now"))
    try:
        terminal.type("The server and its UI", until="prefect profile create")
        terminal.type("Then and now")
        run([sys.executable, str(Path(__file__).with_name("left_behind.py"))], terminal.env, terminal.folder)
        terminal.type("Reset")
        terminal.type("The server and its UI", first="prefect profile create")
    finally:
        run("prefect server stop", terminal.env, terminal.folder, status=None)
    return terminal


@pytest.mark.parametrize("section", ["The server and its UI", "Then and now", "Reset"])
def test_commands_print_what_the_page_shows(typed, section):
    assert "\n".join(typed.differing[section]) == ""


def test_each_command_of_today_in_the_table_is_run():
    table = PAGE.read_text(encoding="utf-8").partition("\n## Then and now\n")[2].partition("\n## ")[0]
    now = [row.split(" | ")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [name for cell in now for name in re.findall(r"`(prefect [^`]*)`", cell)]
    typed = [
        shown.command for section in ("Then and now", "The server and its UI", "Reset") for shown in shown_in(section)
    ]
    assert len(named) > 20
    assert [name for name in named if not any(_is_run_by(name, command) for command in typed)] == []


def _is_run_by(name, command):
    plain = command.replace("--no-prompt ", "").replace("--profile far ", "")
    return plain.partition("prefect ")[2].startswith(name.partition("…")[0].removeprefix("prefect ").strip())


def test_output_that_is_not_as_shown_is_noticed():
    shown = ["…", "│ <id> │ ml …│", "…", "done"]
    assert agrees(shown, "┏━━┓\n┃ ID ┃ Pool ┃\n│ <id>   │ ml here │\n\nmore\ndone\n")
    assert not agrees(shown, "│ <id> │ other │\ndone\n")
    assert not agrees(shown, "│ <id> │ ml here │\ndone\nand more\n")
