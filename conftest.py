"""Shares the suite between workers: `make test` runs it in two, and `pytest` alone in one process, as it is written.

A file stays in one piece, for its tests share what is slow to start, and so does a page, whose blocks build on each
other. A process starts one Prefect server: the files that use it make two groups, so that a second worker has its half.
"""

import gc
import re
from collections import Counter
from pathlib import Path

import pytest

SERVED = ("prefect-1", "prefect-2")
#: Where files take long: these begin first, so that no worker is left alone with one at the end.
LONG = ("tests/operations", "tests/examples", "tests/tutorial", "tests/test_", "docs/", "tests/data", "tests/stores")
#: What `make fast` leaves out: folders, and elsewhere the files of tests that start a process or import Prefect.
SLOW_FOLDERS = {"docs", "examples", "operations", "orchestrate", "processes", "stores", "tutorial"}
SLOW = re.compile(
    r"subprocess\.(run|Popen|check_\w+)|multiprocessing|os\.fork\(|ProcessPool|enforce=.process|\bin_process\b"
    r"|^\s*(from|import) prefect|\bresilient_(prefect|task|flow)\b",
    re.MULTILINE,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--fast`."""
    parser.addoption("--fast", action="store_true", help="only tests that start no process and do not import Prefect")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is slow where `--fast` is given."""
    if not config.getoption("fast"):
        return None
    if collection_path.is_dir():
        return collection_path.name in SLOW_FOLDERS or None
    text = collection_path.suffix == ".py" and collection_path.name.startswith("test_") and collection_path.read_text()
    return bool(text and SLOW.search(text)) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its group, the long ones first."""
    if not hasattr(config, "workerinput"):
        return
    seen: Counter[str] = Counter()
    for item in items:
        # A parameter's address differs from worker to worker, and the name of a test may not.
        item._nodeid = name = re.sub(r" at 0x[0-9a-f]+", "", item.nodeid)  # noqa: SLF001  # xdist does so, too
        seen[name] += 1
        if seen[name] > 1:
            item._nodeid += f" {seen[name]}"  # noqa: SLF001  # as above
    served = dict.fromkeys(_file(item) for item in items if "resilient_prefect" in getattr(item, "fixturenames", ()))
    groups = {file: SERVED[number % 2] for number, file in enumerate(served)}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups.get(_file(item), _file(item))))
    items.sort(key=lambda item: _turn(_file(item), groups))


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's rounds: many tests start one, and forks share the memory."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test without its group, so that it can be run again by what is printed, and by `--last-failed`."""
    name, at, group = report.nodeid.rpartition("@")
    if at and (group in SERVED or name.startswith(f"{group}::")):
        report.nodeid = name


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _turn(file: str, groups: dict[str, str]) -> tuple[int, str]:
    if file in groups:
        return -1, groups[file]
    return next((turn for turn, start in enumerate(LONG) if file.startswith(start)), len(LONG)), file
