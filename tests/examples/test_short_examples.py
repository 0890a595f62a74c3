"""The short examples as a newcomer starts them: with `--help`, with a typo, and with a URL of their own set already."""

import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def ended(run_script, tmp_path):
    """`ended(name, argument, ..., VARIABLE=value)` runs an example in a folder where another run has left data."""

    def run(name, *arguments, **environment):
        left = tmp_path / "out" / name.removesuffix(".py")
        left.mkdir(parents=True)
        (left / "rows").write_text("of last night")
        own = {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
        status, printed = run_script([EXAMPLES / name, *arguments], os.environ | own | environment, tmp_path)
        assert (left / "rows").read_text() == "of last night", "it emptied the folder"
        return status, printed

    return run


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_the_example_is_and_starts_nothing(ended, name):
    status, printed = ended(name, "--help")
    assert status == 0, printed
    first = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()[0].strip('"')
    assert first in printed
    assert "starting" not in printed


@pytest.mark.parametrize(
    ("name", "arguments", "environment", "sentence"),
    [
        ("hourly_ingest.py", ["--sever"], {}, "unrecognized arguments: --sever"),
        ("hourly_ingest.py", [], {"ORDERS_API": "http://127.0.0.1:9"}, "load it with --serve, or unset it"),
        ("hourly_ingest.py", ["--serve"], {"ORDERS_API": ""}, "ORDERS_API is not set"),
        ("batch_scoring.py", [], {"SCORING_URL": "http://127.0.0.1:9"}, "call score_all(), or unset it"),
    ],
)
def test_a_demonstration_does_not_empty_the_folder_of_a_user(ended, name, arguments, environment, sentence):
    status, printed = ended(name, *arguments, **environment)
    assert status == 2, printed
    assert sentence in printed
