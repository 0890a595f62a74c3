# ruff: noqa: INP001 - no package: pytest and Sphinx look for these files here
"""Every Python block of these pages, and of the README, is a test.

A page is one namespace, run from top to bottom in an empty folder and on a virtual clock, which the blocks know as
`clock`: waits pass at once. Blocks of the page on testing may also hold a test function; it is called with fixtures.
"""

import doctest
import inspect
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import left_over
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser
from sybil.sybil import SybilCollection
from sybil.typing import Parser

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.outbox import use_incidents
from resilient_tasks.core import failures, settings
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state import states
from resilient_tasks.testing import VirtualClock, use_clock

DOCS = Path(__file__).resolve().parent
HERE = "127.0.0.1:"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FIXTURES = tuple(
    f"resilient_{name}"
    for name in ("clock", "events", "api", "slack", "smtp", "proxy", "bucket", "prefect", "prefect_memory", "rehearse")
)

Namespace = dict[str, Any]


def _begin(namespace: Namespace) -> None:
    """Give a page its own folder, clock, store and settings."""
    namespace["_after"] = after = ExitStack()
    folder = after.enter_context(tempfile.TemporaryDirectory())
    after.callback(os.chdir, Path.cwd())
    os.chdir(folder)
    namespace["clock"] = VirtualClock()
    after.enter_context(use_clock(namespace["clock"]))
    # After the clock, which changes the environment too: changes are undone in reverse order.
    patch = after.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(settings, "current", settings.Settings())
    patch.setattr(failures, "_registered", [])  # a page registers kinds, and explains those that it registered
    after.enter_context(states.use_store(MemoryStore()))
    after.enter_context(use_incidents(MemoryStore()))
    # Let alerts reach a page's own channels, and servers that it starts.
    after.enter_context(gate.open_to(lambda channel: getattr(channel, "place", HERE).startswith(HERE)))
    for name in ("RESILIENT_TASKS_STORE", "RESILIENT_TASKS_INCIDENTS"):
        patch.setenv(name, "memory:")  # so that the page's changes are undone
    patch.setenv("RESILIENT_TASKS_PROMETHEUS", "")  # as above
    patch.setenv("RESILIENT_TASKS_EVENTS", "")


def _begin_with_prefect(namespace: Namespace) -> None:
    """As `_begin`; tasks persist results in the page's folder, not in the user's home."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings  # noqa: PLC0415 - seconds to import

    _begin(namespace)
    storage = temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(Path.cwd() / "storage")})
    namespace["_after"].enter_context(storage)


def _begin_with_a_store_to_choose(namespace: Namespace) -> None:
    """As `_begin`; the page may `configure(store=...)`, for itself and for the processes that it starts."""
    _begin(namespace)
    after = namespace["_after"]
    patch = after.enter_context(pytest.MonkeyPatch.context())
    # The store must not time out, even on a busy machine.
    patch.setenv("RESILIENT_TASKS_STORE_TIMEOUT", "10")
    patch.setattr(settings, "current", settings.Settings(store_timeout=10))
    patch.setattr(states.shared, "_states", None)
    patch.setattr(states.shared, "opened_for", None)
    patch.setattr(states.shared, "_forced", False)
    after.callback(lambda: states.states().close())


def _end(namespace: Namespace) -> None:
    namespace["_after"].close()
    left_over.wait_for_the_end()


class _RunTests(PythonEvaluator):
    """Runs a block, and then the test function that it defines."""

    def __call__(self, example: Example) -> None:
        known = set(example.namespace)
        super().__call__(example)
        tests = [name for name in example.namespace if name.startswith("test_") and name not in known]
        if len(tests) > 1:
            msg = f"one test a block, for each block gets fresh fixtures: {', '.join(tests)}"
            raise ValueError(msg)
        for name in tests:
            test = example.namespace[name]
            test(**{parameter: example.namespace[parameter] for parameter in inspect.signature(test).parameters})


def _pages(
    folder: Path,
    *patterns: str,
    begin: Callable[[Namespace], None] = _begin,
    parser: Parser | None = None,
    fixtures: Sequence[str] = (),
    excludes: Sequence[str] = (),
) -> Sybil:
    return Sybil(
        parsers=[parser or PythonCodeBlockParser(doctest_optionflags=FLAGS)],
        path=str(folder),
        patterns=patterns,
        excludes=excludes,
        setup=begin,
        teardown=_end,
        fixtures=fixtures,
    )


# tests/tutorial builds files from the tutorial's blocks and runs them.
_with_their_own = [
    "prefect.md",
    "flows.md",
    "degraded.md",
    "where-it-runs.md",
    "testing.md",
    "rehearsal.md",
    "shared-state.md",
    "tutorial.md",
]
_plain = _pages(DOCS, "*.md", excludes=_with_their_own)
_sharing = _pages(DOCS, "shared-state.md", begin=_begin_with_a_store_to_choose)
_prefect = _pages(
    DOCS,
    "prefect.md",
    "flows.md",
    "degraded.md",
    "where-it-runs.md",
    begin=_begin_with_prefect,
    fixtures=["resilient_prefect"],
)
_testing = _pages(
    DOCS, "testing.md", begin=_begin_with_prefect, parser=CodeBlockParser("python", _RunTests()), fixtures=FIXTURES
)
_rehearsal = _pages(
    DOCS, "rehearsal.md", parser=CodeBlockParser("python", _RunTests()), fixtures=["resilient_rehearse"]
)
_readme = _pages(DOCS.parent, "README.md", begin=_begin_with_prefect, fixtures=["resilient_prefect"])

pytest_collect_file = SybilCollection((_plain, _sharing, _prefect, _testing, _rehearsal)).pytest()


class _Readme:
    pytest_collect_file = staticmethod(_readme.pytest())


def pytest_configure(config: pytest.Config) -> None:
    """Collect the README too: it lies above this folder, where a conftest's own hook does not reach."""
    config.pluginmanager.register(_Readme(), "resilient-readme")
