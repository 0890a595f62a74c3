"""Fixtures for tests of resilient functions. None is automatic, and each imports only what it needs, on first use."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from resilient_tasks.rehearsal.results import Rehearsal
    from resilient_tasks.testing.bucket import FaultyBucket
    from resilient_tasks.testing.clock import VirtualClock
    from resilient_tasks.testing.events import RecordedEvents
    from resilient_tasks.testing.http import FaultyServer
    from resilient_tasks.testing.prefect_api import PrefectApi
    from resilient_tasks.testing.proxy import FaultyProxy
    from resilient_tasks.testing.slack import FakeSlack
    from resilient_tasks.testing.smtp import MailServer

# Prefect gives its server 30 s; a busy machine may need more.
_STARTUP = 120


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep alerts away from people during every test that uses a fixture of this plugin, including its setup."""
    if not any(name.startswith("resilient_") for name in getattr(item, "fixturenames", ())):
        yield
        return
    from resilient_tasks.testing.isolation import away_from_people  # noqa: PLC0415  # the plugin loads in every run

    with away_from_people(), _without_a_server_of_its_own():
        yield


@contextmanager
def _without_a_server_of_its_own() -> Iterator[None]:
    """Keep Prefect from starting a server, in the user's own profile, for a test that has no API."""
    with pytest.MonkeyPatch.context() as patch:
        if client := sys.modules.get("prefect.client.orchestration"):
            # Not by `temporary_settings`: its end would undo those of a session's fixture, which began later.
            patch.setattr(client, "PREFECT_SERVER_EPHEMERAL_ENABLED", False, raising=False)
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add a hint to the report of a failed test: that messages are unsent, or that a fixture is missing."""
    result = yield
    report = result.get_result()  # type: ignore[attr-defined]  # pluggy's result
    if report.failed and "No Prefect API URL provided" in report.longreprtext:
        report.sections.append(
            ("resilient_tasks", "a task or flow needs resilient_prefect_memory, or resilient_prefect")
        )
    if report.when == "call" and report.failed and _RECEIVERS.intersection(getattr(item, "fixturenames", ())):
        from resilient_tasks.testing.received import unsent  # noqa: PLC0415  # the plugin loads in every run

        if waiting := unsent():
            report.sections.append(("resilient_tasks", waiting))


_RECEIVERS = frozenset({"resilient_slack", "resilient_smtp"})


@pytest.fixture
def resilient_clock() -> Iterator[VirtualClock]:
    """A virtual clock: waits return at once and are recorded in `.waits`. Circuits, limits and counters start fresh."""
    from resilient_tasks.core.store import MemoryStore  # noqa: PLC0415  # the plugin loads in every run: keep it light
    from resilient_tasks.state.states import use_store  # noqa: PLC0415
    from resilient_tasks.testing.clock import VirtualClock, use_clock  # noqa: PLC0415

    clock = VirtualClock()
    # Stored values expire by the clock in use: no value may outlive the clock it was written by.
    with use_clock(clock), use_store(MemoryStore()):
        yield clock


@pytest.fixture
def resilient_events() -> Iterator[RecordedEvents]:
    """A list of every event of the test so far; `.names`, `.named("retry.scheduled")`, `.of("fetch_month")`."""
    from resilient_tasks.testing.events import RecordedEvents  # noqa: PLC0415  # as above

    with RecordedEvents.listening() as events:
        yield events


@pytest.fixture
def resilient_api() -> Iterator[FaultyServer]:
    """A real HTTP server on loopback that fails on request: `resilient_api.serve(...)`, `resilient_api.down(2)`."""
    from resilient_tasks.testing.http import FaultyServer  # noqa: PLC0415  # as above

    with FaultyServer() as server:
        yield server


@pytest.fixture
def resilient_slack() -> Iterator[FakeSlack]:
    """A fake Slack on loopback that records messages: `Slack(webhook=resilient_slack.webhook_url)`.

    A background thread sends the messages: call `resilient_tasks.testing.flush_messages()` before asserting. Each test
    has its own incidents.
    """
    from resilient_tasks.alerts.outbox import use_incidents  # noqa: PLC0415
    from resilient_tasks.core.store import MemoryStore  # noqa: PLC0415  # as above
    from resilient_tasks.testing.slack import FakeSlack  # noqa: PLC0415

    with FakeSlack() as slack, use_incidents(MemoryStore()):
        yield slack


@pytest.fixture
def resilient_smtp() -> Iterator[MailServer]:
    """A mail server on loopback with TLS and login: `Email("ops@example.org", **resilient_smtp.starttls)`.

    As with `resilient_slack`, a background thread sends the messages, and each test has its own incidents.
    """
    from resilient_tasks.alerts.outbox import use_incidents  # noqa: PLC0415
    from resilient_tasks.core.store import MemoryStore  # noqa: PLC0415  # as above
    from resilient_tasks.testing.smtp import MailServer  # noqa: PLC0415

    with MailServer() as server, use_incidents(MemoryStore()):
        yield server


@pytest.fixture
def resilient_proxy() -> Iterator[Callable[..., FaultyProxy]]:
    """A function that puts a proxy before a real server, such as a database: `resilient_proxy(5432).drop()`."""
    from resilient_tasks.testing.proxy import FaultyProxy  # noqa: PLC0415  # as above

    with ExitStack() as until:
        yield lambda to_port, to_host="127.0.0.1": until.enter_context(FaultyProxy(to_port, to_host))


@pytest.fixture
def resilient_bucket() -> Iterator[FaultyBucket]:
    """A bucket for fsspec that fails on request: `resilient_bucket.url`, `with resilient_bucket.full():`."""
    from resilient_tasks.testing.bucket import FaultyBucket  # noqa: PLC0415  # as above

    with FaultyBucket() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def resilient_prefect() -> Iterator[str]:
    """A temporary Prefect server with an empty database, shared by the session; the value is its API's URL."""
    with pytest.MonkeyPatch.context() as environment, _terminated_like_an_interrupt():
        # Otherwise the server contacts a host on the internet, and logs that it cannot.
        environment.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        from prefect import settings  # noqa: PLC0415  # seconds to import
        from prefect.testing import utilities  # noqa: PLC0415

        from resilient_tasks.prefect.rehearsed import settings_for_tests  # noqa: PLC0415

        # Prefect uses a single SQLite connection if the database's address contains ":memory:". With several, its
        # event loop sometimes blocks for a minute: the garbage collector, on the loop's thread, frees a cursor of a
        # connection that is waiting for SQLite's write lock, and so waits for that connection, while the transaction
        # that holds the lock needs the loop.
        if os.name == "posix":  # elsewhere a file name may not contain a colon
            environment.setattr(utilities, "mkdtemp", lambda: mkdtemp(suffix=":memory:"))
        with utilities.prefect_test_harness(server_startup_timeout=_STARTUP), settings_for_tests():
            yield str(settings.PREFECT_API_URL.value())


@pytest.fixture
def resilient_prefect_memory() -> Iterator[PrefectApi]:
    """An empty Prefect API in memory, where a task takes milliseconds: `.flow_runs`, `.task_runs`, `.states_of(id)`."""
    from resilient_tasks.prefect.rehearsed import prefect_in_memory  # noqa: PLC0415  # seconds to import

    with prefect_in_memory() as api:
        yield api


@pytest.fixture
def resilient_rehearse() -> Callable[..., Rehearsal]:
    """A function that runs a flow under faults, and fails if a run failed silently, hung or acted twice.

    `resilient_rehearse(flow, runs=20, seed=7)`. See `resilient_tasks.rehearsal.asserting.assert_rehearsed`.
    """
    from resilient_tasks.rehearsal.asserting import assert_rehearsed  # noqa: PLC0415  # Prefect takes seconds to import

    return assert_rehearsed


@contextmanager
def _terminated_like_an_interrupt() -> Iterator[None]:
    """Make SIGTERM end the session as Ctrl-C does.

    By default it would end Python at once: the server's process would survive and keep the standard output open, so a
    CI runner would wait for ever.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
