"""One host serves the calls of this process."""

from contextlib import suppress

import pytest

from resilient_tasks.core import events, host
from resilient_tasks.core.execution import clock
from resilient_tasks.core.host import Host, use_host


@pytest.fixture
def no_host():
    with use_host(host.NONE):
        yield


@pytest.mark.usefixtures("no_host")
def test_without_a_host_there_is_no_run_flow_loop_flag_or_result_storage():
    assert (events.run_ids(), host.current.flow(), host.current.loops()) == ({}, ("", frozenset()), ())
    assert not clock.is_watched()
    assert host.current.results() is None


@pytest.mark.usefixtures("no_host")
def test_the_first_host_stays():
    first = Host()
    assert host.install(first)
    assert not host.install(Host())
    assert host.current is first


@pytest.mark.usefixtures("no_host")
def test_use_host_restores_the_previous_host_even_if_the_block_raises(in_run):
    before = host.current
    seen = []
    with suppress(ZeroDivisionError), in_run(flow_run_id="f-1"):
        seen.append(events.run_ids())
        raise ZeroDivisionError
    assert seen == [{"flow_run_id": "f-1"}]
    assert host.current is before
