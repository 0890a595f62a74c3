"""The short examples as a newcomer starts them: with `--help`, with a typo, and with a URL of their own set already."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


def ended(folder, name, *arguments, **environment):
    """Run an example in a folder where another run has left data, and return how it ended."""
    left = folder / "out" / name.removesuffix(".py")
    left.mkdir(parents=True)
    (left / "rows").write_text("of last night")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=os.environ | {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect")} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (left / "rows").read_text() == "of last night", "it emptied the folder"
    return done


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_the_example_is_and_starts_nothing(tmp_path, name):
    done = ended(tmp_path, name, "--help")
    assert done.returncode == 0, done.stderr
    first = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()[0].strip('"')
    assert first in done.stdout
    assert "starting" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "environment", "sentence"),
    [
        ("hourly_ingest.py", ["--sever"], {}, "unrecognized arguments: --sever"),
        ("hourly_ingest.py", [], {"ORDERS_API": "http://127.0.0.1:9"}, "load it with --serve, or unset it"),
        ("hourly_ingest.py", ["--serve"], {"ORDERS_API": ""}, "ORDERS_API is not set"),
        ("batch_scoring.py", [], {"SCORING_URL": "http://127.0.0.1:9"}, "call score_all(), or unset it"),
    ],
)
def test_a_demonstration_does_not_empty_the_folder_of_a_user(tmp_path, name, arguments, environment, sentence):
    done = ended(tmp_path, name, *arguments, **environment)
    assert done.returncode == 2, done.stdout
    assert sentence in done.stderr
