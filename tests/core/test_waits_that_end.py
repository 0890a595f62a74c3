"""A waiting call ends if a flag cancels its run: no exception from outside reaches a waiting thread."""

import asyncio
import copyreg
import pickle
import time
from unittest.mock import patch

import pytest

from resilient_tasks import Failed, Retry
from resilient_tasks.core.execution import clock
from resilient_tasks.core.host import Host, use_host


class CancelledRunError(BaseException):
    """Raised by an orchestrator in a cancelled run."""


@pytest.fixture
def cancelled():
    """A run that is cancelled at its second check."""
    checks = []

    def check():
        checks.append(time.monotonic())
        if len(checks) > 1:
            raise CancelledRunError

    class Cancelling(Host):
        def watch(self):
            return check

    with use_host(Cancelling()):
        yield checks


def failing():
    raise ConnectionError("down")


def test_a_wait_ends_within_a_quarter_of_a_second(drive, cancelled):
    call = drive(failing, retry=Retry(attempts=2, wait=60))
    with pytest.raises(CancelledRunError):
        call()
    assert cancelled[-1] - cancelled[0] < 0.25


def test_no_attempt_follows_without_a_wait_either(drive, cancelled):
    tries = []

    def fetch():
        tries.append(1)
        failing()

    with pytest.raises(CancelledRunError):
        drive(fetch, retry=Retry(attempts=50, wait=0))()
    assert len(tries) == 2


def test_a_coroutine_that_only_a_cancellation_can_end_sleeps_undisturbed():
    waited = asyncio.run(asyncio.wait_for(clock.asleep(0.01), 1))
    assert waited is None


def test_a_failed_outcome_is_pickled_without_its_traceback(drive):
    failed = drive(failing).outcome()
    assert failed.traceback is not None
    with patch.dict(copyreg.dispatch_table, clear=True):  # Dask, if loaded, makes tracebacks picklable
        other = pickle.loads(pickle.dumps(failed))
    assert isinstance(other, Failed)
    assert (repr(other.error), other.traceback) == ("ConnectionError('down')", None)
