"""The command in a terminal and without one: its progress, and Ctrl-C."""

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from pathlib import Path

import psutil
import pytest

from resilient_tasks.cli import main

FLOWS = """
import os
import subprocess
from pathlib import Path

from prefect import flow, task

@task
def begin(noted):
    started = subprocess.Popen(["sleep", "900"], start_new_session=True)
    with Path(noted).open("a") as file:
        file.write(f"{os.getpid()} {started.pid} ")

@flow
def begun(noted):
    begin(noted)
"""
#: Its first run has a timeout, its second never ends by itself.
ARGUMENTS = ("rehearse", "flows_begun.py:begun", "--faults", "timeouts", "--runs", "3", "--hung-after", "600")
COMMAND = "import sys; from resilient_tasks.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("flows_begun.py").write_text(FLOWS)
    yield [*ARGUMENTS, "--param", f"noted={tmp_path / 'noted.txt'}"]
    sys.modules.pop("flows_begun", None)


def still_running():
    pids = map(int, Path("noted.txt").read_text().split())
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def read_until(terminal, text, seen=""):
    while text not in seen:
        assert select.select([terminal], [], [], 120)[0], seen
        seen += os.read(terminal, 4096).decode()
    return seen


def read_to_the_end(terminal, seen):
    try:
        while more := os.read(terminal, 4096):
            seen += more.decode()
    except OSError:  # the other end is closed
        pass
    return seen


def test_ctrl_c_in_a_terminal_ends_all_processes_and_prints_what_was_found(arguments):
    terminal, its_own = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdin=its_own,
        stdout=its_own,
        stderr=its_own,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # so that Ctrl-C is a signal to it
    )
    os.close(its_own)
    seen = read_until(terminal, "1 of 3 runs, 0 bad")
    os.write(terminal, b"\x03")
    seen = read_to_the_end(terminal, seen)
    os.close(terminal)

    assert process.wait() == 130, seen
    shown = seen.rpartition("\x1b[K")[2]
    assert re.search(r"begin\s+failed loudly 1", shown)
    assert "1 run with seed" in shown
    assert "stopped before the last run" in shown
    assert "Traceback" not in seen
    assert still_running() == []


def test_without_a_terminal_it_prints_no_progress_and_leaves_no_process(arguments, capfd):
    replay = ["--replay", "begin:1:before:timeout", "--json"]
    assert main([*arguments, *replay]) == 0
    printed, errors = capfd.readouterr()
    assert [run["verdict"] for run in json.loads(printed)["runs"]] == ["failed loudly"]
    assert "\r" not in errors
    assert still_running() == []


def test_ctrl_c_in_the_runs_without_faults_says_that_nothing_was_injected(arguments, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("resilient_tasks.rehearsal.runs._wait", interrupted)
    assert main(arguments) == 130
    assert capsys.readouterr().err == "stopped in the runs without faults: nothing was injected\n"
