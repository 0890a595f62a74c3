"""The demo's modules are scripts in one folder: put it on the path. The short examples are run as a user runs them."""

import functools
import os
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(EXAMPLES / "flight_times"), str(TESTS / "operations"), str(TESTS)]
import prefect_database  # noqa: E402  # needs that path
from forked_commands import Commands  # noqa: E402  # as above


@pytest.fixture(scope="session")
def run_example_in(commands):
    """Return a function that runs an example by its one command, with a folder as its home, and returns its output."""

    def run(folder, name, **environment):
        others = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RESILIENT_"))}
        home = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "COLUMNS": "120"}
        prefect_database.put_into(folder / "prefect")
        errors = folder / "errors.txt"
        status, printed = commands.run([EXAMPLES / name], others | home | environment, folder, errors)
        assert status == 0, errors.read_text()
        return printed

    return run


@pytest.fixture
def run_example(run_example_in, tmp_path):
    """As `run_example_in`, in a home of the test's own."""
    return functools.partial(run_example_in, tmp_path)


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """A process that has imported what the examples import, and is forked for each run of a script."""
    home = tmp_path_factory.mktemp("home")
    own = {"HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
    commands = Commands(
        os.environ | own, "prefect.testing.utilities", "resilient_tasks.testing.http", "duckdb", "httpx"
    )
    yield commands
    commands.stop()
