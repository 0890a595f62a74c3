"""Builds the wheel, and tries it as a user has it: installed into an empty environment, with the source out of reach.

    python tests/wheel.py [--python 3.12] [--constraints constraints.txt | --lowest] [--folder out/dist]

It prints what it has tried, the size of the wheel, and the versions that it was tried with.
"""

import argparse
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
#: Bytes. A wheel that is larger holds something that is not the package.
LARGEST = 1_100_000
#: What a wheel may hold, besides what describes it.
HELD = (".py", "py.typed", ".css", ".js")

IMPORT = """
import sys
from pathlib import Path
import resilient_tasks
assert Path(resilient_tasks.__file__).is_relative_to(sys.prefix), resilient_tasks.__file__
assert not {"prefect", "pandas", "polars"} & set(sys.modules)
for name in resilient_tasks.__all__:
    getattr(resilient_tasks, name)
"""
CALL = """
import asyncio
from resilient_tasks import Fallback, Retry, resilient
from resilient_tasks.testing import VirtualClock, use_clock

attempts = []

@resilient(retry=Retry(attempts=3, on=OSError), deadline=60, fallback=Fallback(value="stand-in"))
def fetch(month):
    attempts.append(month)
    if month == "lost" or len(attempts) < 3:
        raise ConnectionError
    return month

@resilient(retry=3, timeout=20)
async def load():
    return "loaded"

with use_clock(VirtualClock()):
    assert fetch("2013-07") == "2013-07" and len(attempts) == 3
    assert fetch("lost") == "stand-in" and len(attempts) == 6
assert asyncio.run(load()) == "loaded"
"""
ROWS = """
import pandas as pd
import pandera.pandas as pa
from resilient_tasks import Validate, resilient

Flights = pa.DataFrameSchema({"air_time": pa.Column("int64", pa.Check.ge(0))})

@resilient(validate=Validate(output=Flights, on_invalid="drop"))
def fetch():
    return pd.DataFrame({"air_time": [227, -1, 160]})

assert fetch()["air_time"].tolist() == [227, 160]
"""
VERSIONS = """
import platform
from importlib.metadata import version
names = "prefect", "pandera", "pandas", "polars", "pyarrow", "pydantic", "tenacity"
print(", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]), end="")
"""
PLUGIN = """
from resilient_tasks import Retry, resilient

def test_a_wait_takes_no_time(resilient_clock, resilient_events):
    attempts = []

    @resilient(retry=Retry(attempts=2, wait=3600))
    def fetch():
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError
        return 7

    assert fetch() == 7
    assert resilient_clock.waits == [3600.0]
    assert "retry.scheduled" in resilient_events.names
"""
MAIL = """
from resilient_tasks import Email, resilient
from resilient_tasks.testing import flush_messages

def test_a_mail_arrives(resilient_smtp):
    def fetch():
        raise ConnectionError

    try:
        resilient(notify=Email("ops@example.org", **resilient_smtp.starttls))(fetch)()
    except ConnectionError:
        pass
    flush_messages()
    (mail,) = resilient_smtp.messages
    assert mail.subject == "fetch failed: ConnectionError"
"""


def main() -> int:
    """Build the wheel and try it; return 1 where something fails."""
    options = _options()
    folder = Path(options.folder).resolve()
    uv = (sys.executable, "-m", "uv")
    for before in folder.glob("*.whl"):
        before.unlink()
    _run(*uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    _looked_at(wheel)
    with TemporaryDirectory() as empty:
        versions = _tried(uv, wheel, Path(empty), options)
    print(f"{wheel.name}: {wheel.stat().st_size / 1000:.0f} kB; {versions}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=".".join(map(str, sys.version_info[:2])), help="the version to try it with")
    parser.add_argument("--constraints", default=str(ROOT / "constraints.txt"), help="pins of all that it needs")
    parser.add_argument(
        "--lowest", action="store_true", help="instead of pins: the oldest of what pyproject.toml allows"
    )
    parser.add_argument("--folder", default=str(ROOT / "out" / "dist"), help="where the wheel is written")
    return parser.parse_args()


def _looked_at(wheel: Path) -> None:
    """Check that a wheel holds the whole package and nothing else."""
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
    package = ROOT / "resilient_tasks"
    ours = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.name.endswith(HELD)}
    assert names == ours, f"more or less than the package: {sorted(names ^ ours)}"
    assert "resilient_tasks/py.typed" in names
    assert wheel.stat().st_size < LARGEST, f"{wheel.stat().st_size} bytes"


def _tried(uv: tuple[str, ...], wheel: Path, empty: Path, options: argparse.Namespace) -> str:
    """Install a wheel into an environment of its own, use it, and return the versions in it."""
    _run(*uv, "venv", "--quiet", "--python", options.python, empty / "venv", cwd=empty)
    binaries = empty / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    pins = Path(options.constraints).resolve()
    if options.lowest:
        pins = empty / "lowest.txt"
        oldest = (
            "--quiet",
            "--extra",
            "testing",
            "--resolution",
            "lowest-direct",
            "--only-binary",
            ":all:",
            "--python",
            python,
        )
        _run(*uv, "pip", "compile", *oldest, ROOT / "pyproject.toml", "-o", pins)
    _run(*uv, "pip", "install", "--quiet", "--python", python, "-c", pins, wheel, "pytest>=9", cwd=empty)
    for program in (IMPORT, CALL, ROWS):
        _run(python, "-c", program, cwd=empty)
    _run_test(python, empty, PLUGIN)
    said = _run(binaries / "resilient-tasks", "demo", cwd=empty)
    assert "12 rows read = 11 used + 1 quarantined" in said, said
    _run(python, "-c", "from resilient_tasks import resilient_task, resilient_flow", cwd=empty)
    _run(*uv, "pip", "install", "--quiet", "--python", python, "-c", pins, f"{wheel}[testing]", cwd=empty)
    _run_test(python, empty, MAIL)
    return _run(python, "-c", VERSIONS, cwd=empty)


def _run_test(python: Path, folder: Path, source: str) -> None:
    """Run a user's test with the plugin that the wheel installs."""
    (folder / "test_plugin.py").write_text(source)
    _run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_plugin.py", cwd=folder)


def _run(*command: object, cwd: Path = ROOT) -> str:
    """Run a command where no Python finds this repository, and return what it prints."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS"}
    surroundings = {name: value for name, value in os.environ.items() if name not in hidden}
    surroundings["PYTHONUTF8"] = "1"
    surroundings |= {name: str(cwd / "home") for name in ("PREFECT_HOME", "RESILIENT_TASKS_HOME") if cwd != ROOT}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=900,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
