"""A half-open circuit admits exactly as many probes as configured, however many callers there are."""

from collections import Counter
from uuid import uuid4

import at_half_open
import pytest
from sharing import PATIENT


@pytest.fixture
def name():
    """The name of a new circuit: the worker pool may have cached another one."""
    return uuid4().hex


@pytest.mark.parametrize("probes", [1, 3])
def test_of_160_callers_in_8_processes_only_the_probes_are_admitted(worker_pool, share, store_url, name, probes):
    share(store_url, PATIENT)
    at_half_open.open_until_now(name)
    answers = worker_pool.all(at_half_open.stampede_of_processes, store_url, name, probes)
    assert sum(map(Counter, answers), Counter()) == {"let through": probes, "turned away": 160 - probes}


@pytest.mark.parametrize("probes", [1, 3])
def test_of_20_threads_only_the_probes_are_admitted(own_store, name, probes):
    at_half_open.open_until_now(name)
    answers = at_half_open.stampede_of_threads(name, probes)
    assert Counter(answers) == {"let through": probes, "turned away": 20 - probes}
