"""docs/command-line.md: each command with every argument that its parser has, and with what it really prints."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_tasks

sys.path.insert(0, str(Path(__file__).parent))
import tutorial_page as page
from command_tables import commands, table
from reader import BATCH, masked

ROOT = Path(resilient_tasks.__file__).parents[1]
TEXT = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
COMMANDS = list(commands())
SHOWN = [
    (command, lines)
    for block in page.blocks(TEXT)
    if block.language == "console"
    for command, _, lines in block.commands()
    # tests/test_cli_demo.py and tests/test_cli_doctor.py run these; what the doctor prints differs between machines.
    # A rehearsal needs another flow: tests/rehearsal/test_rehearsing.py runs that.
    if not command.startswith(tuple(f"resilient-tasks {name}" for name in ("demo", "doctor", "rehearse")))
]

# Runs the commands one after the other in one process, and prints as JSON what each of them printed.
RUN = """
import contextlib, io, json, re, shlex, sys
from pathlib import Path

from resilient_tasks.cli import main
from resilient_tasks.testing import flush_messages

import my_flows

my_flows.fetch_month()
for _ in range(3):
    my_flows.fetch_weather.outcome()
flush_messages(1)
real, printed = {}, []
for command in json.load(sys.stdin):
    for shown, batch in real.items():
        command = command.replace(shown, batch)
    if command.startswith("resilient-tasks "):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            main(shlex.split(command)[1:])
        printed.append(out.getvalue())
        found = re.search(sys.argv[1], printed[-1])
        if found and not real:
            real[sys.argv[2]] = found[0]
        rows = Path("rows.csv")
        if rows.exists():
            rows.write_text(rows.read_text().replace("??", "DL"))  # a person corrects it
print(json.dumps(printed))
"""


def _section(words):
    return TEXT.partition(f"\n### {words}\n")[2].partition("\n### ")[0].partition("\n## ")[0]


@pytest.mark.parametrize(("words", "parser", "told"), COMMANDS, ids=[words for words, _, _ in COMMANDS])
def test_a_command_is_there_with_all_its_arguments(words, parser, told):
    section = _section(words)
    assert section.startswith(f"\n{told[0].upper()}{told[1:]}."), f"docs/command-line.md lacks {words!r}: {told}"
    shown = "".join(re.findall(r"(?m)^\|.*\n", section))
    assert shown == table(parser), f"the table of {words} in docs/command-line.md should be\n{table(parser)}"


def test_the_page_has_no_command_that_is_gone():
    assert re.findall(r"(?m)^### (.*)$", TEXT) == [words for words, _, _ in COMMANDS]


@pytest.mark.parametrize("words", [words for words, _, _ in COMMANDS])
def test_a_command_is_shown_in_use(words):
    assert f"$ resilient-tasks {words}" in _section(words)


def test_what_is_shown_is_what_is_printed(tmp_path, resilient_prefect):
    (module,) = [block for block in page.blocks(TEXT) if block.file == "my_flows.py"]
    (tmp_path / "my_flows.py").write_text(module.text)
    (of_page, *_) = re.findall(BATCH, TEXT)
    around = {name: value for name, value in os.environ.items() if not name.startswith("RESILIENT_TASKS_")}
    own = {
        "PREFECT_API_URL": resilient_prefect,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "RESILIENT_TASKS_HOME": str(tmp_path),
        "RESILIENT_TASKS_EVENTS": "all",
        "RESILIENT_TASKS_STORE": "sqlite:///state.db",
        "RESILIENT_TASKS_STORE_TIMEOUT": "10",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, BATCH, of_page],
        input=json.dumps([command for command, _ in SHOWN]),
        cwd=tmp_path,
        env=around | own,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    for (command, lines), real in zip(SHOWN, printed, strict=True):
        assert _timeless(real) == _timeless("\n".join(lines)), f"$ {command}\nprints\n{real}"


def _timeless(text):
    """Return the words of a text without the times that differ from run to run."""
    for pattern, instead in (
        (r"at the next run|in \d+ s\b", "SOON"),
        (r"\d+ s( ago)?(?! without| \(PREFECT| too)", "S"),
        (r"first \d S \d SOON", "first FAILURES S TRIES SOON"),
        (r"\b\d+\.\d\b", "N"),
        (r"(?m)^[0-9a-f]{8} ", "INCIDENT "),
    ):
        text = re.sub(pattern, instead, masked(text))
    return text.split()
