"""Programs that are forked from a warm process differ from others in nothing that a test could see, but in time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import left_over
import pytest
import warm_programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there are they forked")

SHOWS = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "name": __name__, "folder": os.getcwd(), "read": sys.stdin.read(), "parent": os.getppid(),
    "environment": dict(os.environ), "path": sys.path, "executable": sys.executable,
    "library": "resilient_tasks" in sys.modules, "group": os.getpgrp(),
}, sort_keys=True))
print("an error", file=sys.stderr)
sys.exit(7)
"""

#: Whether the process that evaluates this was forked: then its command line is still that of the warm one.
FORKED = "Path('/proc/self/cmdline').read_text().split(chr(0))[1].endswith('warm_programs.py')"
SPAWNS = f"""
import json, multiprocessing, os, sys
from pathlib import Path

def add(numbers, parent, pipe):
    pipe.send({{"sum": sum(numbers), "module": __name__, "child": os.getppid() == parent, "forked": {FORKED}}})
    sys.exit(3)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    there, here = context.Pipe()
    process = context.Process(target=add, args=([1, 2, 3], os.getpid(), here))
    process.start()
    seen = there.recv()
    process.join()
    print(json.dumps({{**seen, "status": process.exitcode}}))
"""


@pytest.fixture(params=["a program of its own", "forked"])
def started(request, monkeypatch):
    """`started(words, ...)` runs Python in one of the two ways, and returns all that can be seen of it."""
    if request.param == "forked":
        warm_programs.use(monkeypatch)

    def run(*words, **more):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=120, **more
        )
        return done.returncode, done.stdout, done.stderr

    run.is_forked = request.param == "forked"
    return run


@pytest.fixture(scope="module")
def seen():
    """What was seen of each program, to compare the second way with the first."""
    return {}


@pytest.mark.parametrize("kind", ["-c", "script", "-m", "-mshows"])
def test_it_sees_the_same(started, seen, kind, tmp_path_factory):
    folder = seen.setdefault("folder", tmp_path_factory.mktemp("programs"))
    (folder / "shows.py").write_text(SHOWS)
    kinds = {"-c": ["-c", SHOWS], "script": [str(folder / "shows.py")], "-m": ["-m", "shows"], "-mshows": ["-mshows"]}
    environment = {**os.environ, "A_VARIABLE": "its value", "PYTEST_CURRENT_TEST": "this one"}
    got = started(*kinds[kind], "one", "two words", cwd=folder, input="typed", env=environment)
    assert got == seen.setdefault(kind, got)
    assert got[0] == 7
    assert f'"parent": {os.getpid()}' in got[1]


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("pass", 0),
        ("raise SystemExit('a reason')", 1),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import atexit; atexit.register(print, 'at the end')", 0),
        ("import threading; threading.Timer(0.1, print, ['a thread']).start()", 0),
    ],
)
def test_it_ends_the_same(started, seen, program, status):
    got = started("-c", program)
    assert got == seen.setdefault(program, got)
    assert got[0] == status


def test_prefect_reads_the_environment_of_the_program(started, tmp_path):
    shows = "import prefect.settings as s; print(s.PREFECT_API_URL.value(), s.PREFECT_HOME.value())"
    home = tmp_path / "home"
    env = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT_HOME": str(home)}
    assert started("-c", shows, env=env)[1] == f"http://127.0.0.1:1/api {home}\n"


def test_a_process_that_it_spawns_works_as_multiprocessing_makes_it(started, tmp_path):
    (script := tmp_path / "spawns.py").write_text(SPAWNS)
    status, printed, errors = started(str(script), cwd=tmp_path)
    assert (status, errors) == (0, "")
    assert json.loads(printed) == {
        "sum": 6,
        "module": "__mp_main__",
        "child": True,
        "forked": started.is_forked,
        "status": 3,
    }


def test_they_are_forked_where_dask_was_used_too(started):
    os.environ["PYTHONHASHSEED"] = "6640"  # as Dask sets it, and leaves it
    left_over.restore_the_environment()
    shows = f"from pathlib import Path; print({FORKED})"
    assert started("-c", shows) == (0, f"{started.is_forked}\n", "")


def test_a_program_that_it_starts_is_its_child(started):
    starts = (
        "import os, subprocess, sys\n"
        "inner = subprocess.run([sys.executable, '-c', 'import os; print(os.getppid())'], capture_output=True)\n"
        "print(int(inner.stdout) == os.getpid())"
    )
    assert started("-c", starts) == (0, "True\n", "")


def test_it_is_a_group_of_its_own_where_it_is_a_session_of_its_own(started):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as process:
        group = os.getpgid(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
    assert group == process.pid
    assert process.returncode == -signal.SIGKILL


def test_nothing_is_left_of_it(started):
    started("-c", "pass")  # from now on there is a process that forks them
    before = _below()
    started("-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'])")
    assert _below() <= before


def _below():
    """Return the ids of the processes below this one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    below = {os.getpid()}
    for _ in parents:
        below |= {child for child, parent in parents.items() if parent in below}
    return below
