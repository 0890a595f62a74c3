"""The demo's modules are scripts in one folder: put it on the path. The short examples are run as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES / "flight_times"))


@pytest.fixture
def run_example(tmp_path):
    """Return a function that runs an example by its one command, in a home of its own, and returns what it printed."""

    def run(name, **environment):
        others = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RESILIENT_"))}
        home = {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect"), "COLUMNS": "120"}
        command = [sys.executable, str(EXAMPLES / name)]
        ended = subprocess.run(
            command,
            env=others | home | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run
