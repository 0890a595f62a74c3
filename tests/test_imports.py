"""What importing the library costs: nothing that it does not use."""

import subprocess
import sys

import pytest

#: What only some programs need: data, a loop, a limit, a failure's text, a service's answer.
LATER = ("numpy", "asyncio", "concurrent", "ctypes", "email", "http", "json", "pathlib", "ssl", "subprocess", "uuid")
HEAVY = ("prefect", "pandas", "polars", "slack_sdk", "mlflow", "pytest", "tenacity", "structlog", "pandera", "pyarrow")


def python(program):
    """Run a program in a fresh interpreter, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def loaded_by(statement, names=HEAVY):
    return python(f"import sys\n{statement}\nprint(*[name for name in {names!r} if name in sys.modules])")


def rooms_loaded_by(statement):
    """Return the modules of this library that a statement loads."""
    return set(python(f"import sys\n{statement}\nprint(*[name for name in sys.modules if 'resilient_tasks' in name])"))


@pytest.mark.parametrize("statement", ["import resilient_tasks", "import resilient_tasks.testing"])
def test_importing_loads_nothing_heavy(statement):
    assert loaded_by(statement) == []


def test_the_pytest_plugin_loads_nothing_but_pytest():
    assert loaded_by("import resilient_tasks.pytest_plugin") == ["pytest"]


def test_the_decorator_loads_what_a_decorator_needs():
    assert loaded_by("from resilient_tasks import resilient", (*HEAVY, *LATER)) == []
    assert len(rooms_loaded_by("from resilient_tasks import resilient")) <= 44  # each takes its time


def test_a_plain_function_that_goes_well_needs_no_more():
    program = "from resilient_tasks import resilient\nassert resilient(policies=[])(lambda: 7)() == 7"
    assert loaded_by(program, (*HEAVY, *LATER)) == []


POLICIES = {
    "retry=3": "retry",
    "deadline=60": "deadline",
    "timeout=20": "timeout",
    "breaker='api'": "breaker",
    "hedge=1, idempotent=True": "hedge",
    "validate=int": "validate",
    "fallback=lambda: 0": "fallback",
    "single_flight=True": "single_flight",
}


@pytest.mark.parametrize(("keyword", "policy"), POLICIES.items(), ids=POLICIES.values())
def test_a_keyword_loads_its_own_policy_and_no_other(keyword, policy):
    program = f"from resilient_tasks import resilient\ntry: resilient({keyword})(lambda: 7)\nexcept ValueError: pass"
    loaded = {room.split(".")[2] for room in rooms_loaded_by(program) if ".policies." in room or ".alerts." in room}
    assert loaded == {policy}


def test_data_libraries_load_with_validate_alone():
    others = ", ".join(keyword for keyword, policy in POLICIES.items() if policy != "validate")
    program = f"from resilient_tasks import resilient\nassert resilient({others})(lambda: 7)() == 7"
    assert not {"numpy", "pandas", "pandera", "polars", "pyarrow"} & set(loaded_by(program, (*HEAVY, *LATER)))


@pytest.mark.skipif(sys.platform == "win32", reason="its processes have no such limit")
@pytest.mark.parametrize("keyword", ["fallback=Fallback(value=7, on=OSError)", "retry=Retry(on=OSError, wait=0)"])
def test_a_failure_for_want_of_file_handles_finds_all_that_it_needs(keyword):
    program = (
        "import logging, os, resource\n"
        "from resilient_tasks import Fallback, Retry, resilient\n"
        "logging.getLogger('resilient_tasks').setLevel(logging.CRITICAL)\n"
        "held = []\n"
        f"@resilient({keyword})\n"
        "def fetch():\n"
        "    try:\n"
        "        while not held or len(held) > 3: held.append(os.open(os.devnull, os.O_RDONLY))\n"
        "    except OSError:\n"
        "        del held[3:]\n"
        "        raise\n"
        "    return 7\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "print(fetch())\n"
    )
    assert python(program) == ["7"]


def test_the_decorator_of_tasks_loads_nothing_of_prefect_but_its_tasks():
    program = (
        "import sys, prefect\n"
        "before = {*sys.modules}\n"
        "from resilient_tasks import resilient_task\n"
        "print(*[name for name in {*sys.modules} - before if not name.startswith('resilient_tasks')])\n"
        "print(len([name for name in sys.modules if name.startswith('resilient_tasks')]))\n"
    )
    *others, ours = python(program)
    assert set(others) <= {"prefect.tasks", "prefect.cache_policies"}
    assert int(ours) <= 62


def test_no_module_creates_a_generic_class_of_prefect_which_another_process_could_not_import():
    program = (
        "import importlib, pkgutil, resilient_tasks.prefect as room\n"
        "for each in pkgutil.iter_modules(room.__path__):\n"
        "    module = importlib.import_module(f'{room.__name__}.{each.name}')\n"
        "    print(*[f'{each.name}:{name}' for name in vars(module) if '[' in name])"
    )
    assert python(program) == []


def test_a_module_of_the_core_loads_when_it_is_asked_for():
    program = (
        "import sys\nfrom resilient_tasks.core import parameters\n"
        "print(f'{parameters.__name__}.words' in sys.modules, parameters.words.__name__, hasattr(parameters, 'no'))"
    )
    assert python(program) == ["False", "resilient_tasks.core.parameters.words", "False"]


def test_a_module_of_the_core_that_cannot_be_loaded_says_why(monkeypatch):
    from resilient_tasks.core import keys

    monkeypatch.delattr(keys, "hosts")
    monkeypatch.delitem(sys.modules, "resilient_tasks.core.keys.hosts")
    monkeypatch.setitem(sys.modules, "urllib.parse", None)
    with pytest.raises(ModuleNotFoundError, match=r"urllib\.parse"):
        keys.hosts  # noqa: B018  # the access is the test


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
