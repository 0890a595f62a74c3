"""Shares the suite between workers: `make test` runs it in three, and `pytest` alone in one process, as it is written.

A file stays in one piece, for its tests share what is slow to start, and so does a page, whose blocks build on each
other. A process starts one Prefect server: the files that use it make four groups, so that each worker has its part.
"""

import functools
import gc
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import pytest
from sybil.integration.pytest import SybilItem

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tests"))
import left_over  # noqa: E402  # needs that path
import prefect_database  # noqa: E402  # as above
import warm_processes  # noqa: E402  # as above
import warm_programs  # noqa: E402  # as above

#: What a file that uses Prefect's server says.
SERVED = re.compile(r"\bresilient_prefect\b|^@(resilient_)?flow\b|^(from|import) prefect\b", re.MULTILINE)
#: The folders and files whose programs are forked from a warm process: they import Prefect, or pandas.
WARM = re.compile(
    r"tests/(tutorial|operations|examples|with_prefect)/|tests/(test_pytest_plugin|test_readme_example|test_way_back"
    r"|quarantine/test_quarantine_safety|policies/test_validate_crossing|chunks/test_chunks_killed)\.py"
)
#: What takes 20 s and more, the longest first. Most of that is waiting.
LONGEST = (
    "prefect 0",
    "prefect 1",
    "tests/operations/test_storage_to_schedule.py",
    "tests/tutorial/test_tutorial.py",
    "prefect 2",
    "prefect 3",
    "tests/operations/test_far_away.py",
    "tests/operations/test_commands.py",
    "tests/quarantine/test_quarantine_safety.py",
    "tests/examples/test_flight_run.py",
)
END = "-----END CERTIFICATE-----\n"
#: Bytes that have to be free where files are kept in memory.
ROOMY = 4 << 30
#: What is slow: folders, and the files of tests that start a process, import Prefect, or wait for a slow server.
SLOW_FOLDERS = {"docs", "examples", "operations", "state", "tutorial"}
SLOW = re.compile(
    r"subprocess\.(run|Popen|check_\w+)|multiprocessing|os\.fork\(|ProcessPool|enforce=.process|\bin_process\b"
    r"|\bchromium\b"
    r"|^\s*(from|import) prefect\b|\bresilient_(prefect|task|flow)\b|\.(drips|accepts_and_hangs)\(|\bprocesses=[2-9]",
    re.MULTILINE,
)


def _one_certificate() -> Path:
    """Return a file with one of the public authorities: no test asks any, and each of Prefect's clients reads them all.

    They are 130, and take 16 ms, which was a third of what the clients of a flow run cost.
    """
    path = ROOT / ".pytest_cache" / "d" / "one-authority.pem"
    if not path.exists():
        first, end, _ = Path(certifi.where()).read_text(encoding="ascii", errors="replace").partition(END)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(first[first.index("-----BEGIN") :] + end, encoding="ascii")
    return path


os.environ.setdefault("SSL_CERT_FILE", str(_one_certificate()))  # before Prefect is imported, which reads it then

# Garbage is looked for less often, here and in the interpreters that tests start.
gc.set_threshold(100_000, 50, 100)
STARTUP = str(ROOT / "tests" / "startup")
if STARTUP not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (STARTUP, os.environ.get("PYTHONPATH"))))

# How long an example takes says more of what else the machine does.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--fast`."""
    parser.addoption(
        "--fast",
        action="store_true",
        help="only tests that start no process, do not import Prefect, and wait for no slow server",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is slow where `--fast` is given."""
    if not config.getoption("fast"):
        return None
    if collection_path.is_dir():
        return collection_path.name in SLOW_FOLDERS or None
    return (collection_path.match("test_*.py") and _is_slow(str(collection_path.relative_to(ROOT)))) or None


def pytest_configure(config: pytest.Config) -> None:
    """Keep files in memory where the suite is shared: on a disk, ten thousand times a test waits 4 ms for one."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of the run's own is made in it
    if not getattr(config.option, "numprocesses", None) or "TMPDIR" in os.environ or not memory.is_dir():
        return
    if shutil.disk_usage(memory).free > ROOMY:
        tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="resilient-tests-", dir=memory)
        config.add_cleanup(functools.partial(shutil.rmtree, tempfile.tempdir, ignore_errors=True))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests by group where `--dist loadgroup` is given: with pytest 9.2, xdist 3.8 loses its own groups."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  # where it is not installed, nothing is shared

    class ByGroup(LoadScopeScheduling):
        def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
            # The address of a parameter differs from worker to worker, and the name of a test may not.
            names, seen = [re.sub(r" at 0x[0-9a-f]+", "", name) for name in collection], Counter[str]()
            for at, name in enumerate(names):
                seen[name] += 1
                names[at] += f" {seen[name]}"
            super().add_node_collection(node, names)

        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long ones first where they are shared between workers."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="module", autouse=True)
def _programs_warm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the programs that such a file starts forked from a process that has imported what they need."""
    with pytest.MonkeyPatch.context() as patch:
        if WARM.match(request.node.nodeid):
            warm_programs.use(patch)
        yield


@pytest.fixture(scope="session")
def _tables_made() -> Iterator[None]:
    """Have the server of `resilient_prefect` find the tables of its database made."""
    from resilient_tasks import pytest_plugin  # noqa: PLC0415  # measured by coverage, once it runs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest_plugin, "mkdtemp", prefect_database.in_a_folder_for_tests)
        warm_processes.use(patch)
        warm_programs.use_for_servers(patch)
        yield


@pytest.fixture(scope="session")
def resilient_prefect(_tables_made: None, resilient_prefect: str) -> str:
    """As the plugin's."""
    return resilient_prefect


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections: many tests start one."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail a test that leaves an abandoned attempt running; a page of docs is checked at its end."""
    yield
    left_over.restore_the_environment()
    if not isinstance(item, SybilItem):
        left_over.wait_for_the_end()


@functools.cache
def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def _is_slow(file: str) -> bool:
    return bool(SLOW_FOLDERS.intersection(Path(file).parts) or SLOW.search(_text(file)))


@functools.cache
def _group(file: str) -> str:
    """Return the name of the group to which the tests of a file belong."""
    return f"prefect {zlib.crc32(file.encode()) % 4}" if SERVED.search(_text(file)) else file


def _turn(file: str) -> tuple[int, bool, str]:
    """Order files: the longest, then what is slow, so that no worker is left alone with that at the end."""
    group = _group(file)
    return LONGEST.index(group) if group in LONGEST else len(LONGEST), not _is_slow(file), group
