"""Shared by all tests: each scenario is written once, as a plain function, and driven sync and async."""

import asyncio
import functools
import inspect
import os
import time

import pytest

from resilient_tasks import resilient
from resilient_tasks.alerts import gate
from resilient_tasks.alerts.outbox import use_incidents
from resilient_tasks.core import failures, settings, wrappers
from resilient_tasks.core.host import Host, use_host
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store

pytest_plugins = "pytester"


class Driver:
    """Puts a scenario's function through `resilient(...)` in one of the two ways, and calls it like any function."""

    def __init__(self, *, is_async):
        self.is_async = is_async

    def __call__(self, fn, **options):
        """Decorate `fn`; the result is called plainly, and has `outcome` and the decorated function itself."""
        decorated = resilient(**options)(self.own(fn))

        @functools.wraps(fn)
        def call(*args, **kwargs):
            return self.run(decorated, *args, **kwargs)

        call.outcome = functools.partial(self.run, decorated.outcome)
        call.decorated = decorated
        return call

    def own(self, fn):
        """Turn a plain function into the driver's own sort."""
        if not self.is_async or inspect.iscoroutinefunction(fn):
            return fn

        @functools.wraps(fn)
        async def coroutine(*args, **kwargs):
            return fn(*args, **kwargs)

        return coroutine

    def run(self, fn, /, *args, **kwargs):
        """Call a function of either sort to its end."""
        return asyncio.run(_awaited(fn, args, kwargs)) if self.is_async else fn(*args, **kwargs)

    def sleeper(self, seconds, then=None):
        """Make a function that really takes `seconds`, in a way in which it can be stopped."""
        if self.is_async:

            async def slow(*_):
                await asyncio.sleep(seconds)
                return then

        else:

            def slow(*_):
                time.sleep(seconds)
                return then

        return slow


async def _awaited(fn, args, kwargs):
    return await fn(*args, **kwargs)


@pytest.fixture(params=["sync", "async"])
def drive(request):
    """A `Driver`, once for each way."""
    return Driver(is_async=request.param == "async")


class Flaky:
    """A function that meets its failures in order, then returns its argument (or "done")."""

    def __init__(self, *failures):
        self.__name__ = self.__qualname__ = "flaky"
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, value="done"):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return value


@pytest.fixture
def flaky():
    """`flaky(ConnectionError(), ...)` makes a function that fails so and then succeeds."""
    return Flaky


@pytest.fixture
def own_settings(monkeypatch):
    """Let a test change the settings; they are put back after it, and so is what they put into the environment."""
    before = {name: os.environ[name] for name in _inherited()}
    monkeypatch.setattr(settings, "current", settings.Settings())
    yield settings.configure
    for name in _inherited():
        del os.environ[name]
    os.environ |= before


def _inherited():
    return [name for name in os.environ if name.startswith("RESILIENT_TASKS_")]


class InRun(Host):
    """A host whose calls are part of one run."""

    def __init__(self, **ids):
        self.ids = ids

    def run(self):
        return self.ids


@pytest.fixture
def in_run():
    """`with in_run(flow_run_id="f-1"):` is code of that run."""
    return lambda **ids: use_host(InRun(**ids))


@pytest.fixture(scope="module", autouse=True)
def no_home(tmp_path_factory):
    """Keep the processes that tests start out of the user's own folder.

    Each run that begins looks at all runs of the last hour: those of one file are fewer.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RESILIENT_TASKS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def own_incidents():
    """Have no test know the incidents of another. Fixtures keep alerts away from people: there are none here."""
    with use_incidents(MemoryStore()) as kept, gate.open_to(lambda _: True):
        yield kept


@pytest.fixture(autouse=True)
def own_kinds(monkeypatch):
    """Have no test know the kinds of errors that another registers."""
    monkeypatch.setattr(failures, "_registered", failures._registered[:])


@pytest.fixture
def own_store():
    """Let a test begin with an empty store, on real time."""
    with use_store(MemoryStore()) as states:
        yield states


@pytest.fixture(params=["first call", "later call"])
def each_call(request, monkeypatch):
    """Call decorated functions as in their first call, through the pipeline, or as in a later one."""
    if request.param == "first call":
        return

    def later(plan, wrap=wrappers.wrapped):
        wrapper = wrap(plan)
        free = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__, strict=True))
        free["new"].cell_contents.clear()
        return wrapper

    monkeypatch.setattr(wrappers, "wrapped", later)
