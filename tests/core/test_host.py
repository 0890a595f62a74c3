"""One object answers who hosts the calls of this process."""

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
def test_without_a_host_there_is_no_run_no_flow_no_loop_no_flag_and_no_place_for_results():
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
def test_a_host_for_a_block_gives_way_to_the_one_before_also_when_the_block_raises(in_run):
    before = host.current
    seen = []
    with suppress(ZeroDivisionError), in_run(flow_run_id="f-1"):
        seen.append(events.run_ids())
        raise ZeroDivisionError
    assert seen == [{"flow_run_id": "f-1"}]
    assert host.current is before
