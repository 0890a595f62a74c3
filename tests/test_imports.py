"""What importing the library costs: nothing that it does not use."""

import subprocess
import sys

import pytest

HEAVY = ("prefect", "pandas", "polars", "slack_sdk", "mlflow", "pytest", "tenacity", "structlog", "pandera", "pyarrow")


def python(program):
    """Run a program in a fresh interpreter, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def loaded_by(statement):
    return python(f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])")


@pytest.mark.parametrize("statement", ["import resilient_tasks", "import resilient_tasks.testing"])
def test_importing_loads_nothing_heavy(statement):
    assert loaded_by(statement) == []


def test_the_pytest_plugin_loads_nothing_but_pytest():
    assert loaded_by("import resilient_tasks.pytest_plugin") == ["pytest"]


def test_every_public_name_is_there():
    program = "import resilient_tasks as r\nprint(*[type(getattr(r, name)).__name__ for name in r.__all__])"
    assert len(python(program)) > 30


def test_every_public_name_of_the_testing_room_is_there():
    program = "import resilient_tasks.testing as r\nprint(*[getattr(r, name) is not None for name in r.__all__])"
    assert set(python(program)) == {"True"}


def test_an_unknown_name_is_refused_as_python_does():
    import resilient_tasks

    with pytest.raises(AttributeError, match="has no attribute 'retry_forever'"):
        resilient_tasks.retry_forever  # noqa: B018  # the access is the test
    assert {"Retry", "resilient_task", "__version__"} <= set(dir(resilient_tasks))


def test_a_plain_function_is_resilient_without_prefect():
    program = (
        "import sys\n"
        "sys.modules['prefect'] = None\n"
        "from resilient_tasks import resilient, Retry\n"
        "from resilient_tasks.testing import VirtualClock, use_clock\n"
        "attempts = []\n"
        "@resilient(retry=Retry(attempts=3), deadline=60, fallback=lambda: 'stand-in')\n"
        "def fetch():\n"
        "    attempts.append(1)\n"
        "    if len(attempts) < 3: raise ConnectionError\n"
        "    return 'fetched'\n"
        "with use_clock(VirtualClock()): print(fetch(), len(attempts))\n"
    )
    assert python(program) == ["fetched", "3"]


def test_a_function_that_goes_well_loads_neither_tenacity_nor_structlog():
    program = "from resilient_tasks import resilient\nassert resilient(retry=3)(lambda: 7)() == 7"
    assert not {"tenacity", "structlog", "prefect"} & set(loaded_by(program))
