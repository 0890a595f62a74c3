"""The README's first example, pasted into a file and run, as a visitor does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_tasks

ROOT = Path(resilient_tasks.__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE, SHOWN = re.search(r"(?s)```python\n(.*?)```\n\nSaved as `flights\.py`.*?```console\n(.*?)```", README).groups()


@pytest.fixture(scope="module")
def printed(tmp_path_factory, resilient_prefect):
    """What it prints, in an empty folder."""
    folder = tmp_path_factory.mktemp("visitor")
    (folder / "flights.py").write_text(EXAMPLE)
    around = {name: value for name, value in os.environ.items() if not name.startswith("RESILIENT_TASKS_")}
    own = {"PREFECT_API_URL": resilient_prefect, "RESILIENT_TASKS_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "flights.py"],
        cwd=folder,
        env=around | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _masked(text):
    return re.sub(r"waits \d+\.\d s", "waits", text)


def test_the_readmes_first_example_prints_what_is_shown_below_it(printed):
    command, *lines = SHOWN.splitlines()
    assert command.startswith("$ python flights.py")
    rest = _masked(printed)
    for line in lines:
        _, found, rest = rest.partition(_masked(line))
        assert found, f"{line!r} was not printed in this place:\n{printed}"


def test_the_readmes_first_example_alerts_once(printed):
    assert printed.count("[alert] ") == 1
    assert "[alert] fetch_month degraded: HTTPError (HTTP 503)" in printed
    assert "Traceback" not in printed
