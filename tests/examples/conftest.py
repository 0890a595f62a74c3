"""The demo's modules are scripts in one folder: put it on the path. The short examples are run as a user runs them."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(EXAMPLES / "flight_times"), str(TESTS / "operations"), str(TESTS)]
import prefect_database  # noqa: E402  # needs that path


@pytest.fixture(scope="session")
def run_script():
    """Return a function that runs a script, and returns its exit status and all that it printed.

    What it prints on the standard error goes into the file `errors`, if one is given.
    """

    def run(words, env, folder, errors=None):
        with open(errors or os.devnull, "w") as apart:  # noqa: PTH123  # the latter is not a path on each system
            done = subprocess.run(
                [sys.executable, *words],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=apart if errors else subprocess.STDOUT,
                text=True,
                check=False,
            )
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="session")
def run_example_in(run_script):
    """Return a function that runs an example by its one command, with a folder as its home, and returns its output."""

    def run(folder, name, **environment):
        others = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RESILIENT_"))}
        home = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "COLUMNS": "120"}
        prefect_database.put_into(folder / "prefect")
        errors = folder / "errors.txt"
        status, printed = run_script([EXAMPLES / name], others | home | environment, folder, errors)
        assert status == 0, errors.read_text()
        return printed

    return run


@pytest.fixture
def run_example(run_example_in, tmp_path):
    """As `run_example_in`, in a home of the test's own."""
    return functools.partial(run_example_in, tmp_path)
