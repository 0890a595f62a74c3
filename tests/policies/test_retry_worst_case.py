"""How long the waits of a retry may be, and when it ends, as `explain` reads them from tenacity's strategies."""

import math

import pytest
import tenacity
from tenacity import (
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    stop_never,
    wait_chain,
    wait_fixed,
    wait_incrementing,
    wait_random,
    wait_random_exponential,
)

from resilient_tasks.core.bounds import ALWAYS, Ends, Waits
from resilient_tasks.core.later_attempts import LONGEST
from resilient_tasks.policies.retry.worst_case import ends_of, waits_of


def fixed(*seconds):
    return Waits(tuple((each, each) for each in seconds[:-1]), (seconds[-1], seconds[-1]))


class Own(tenacity.wait.wait_base):
    def __call__(self, retry_state):
        return 3.0


class Unhashable(Own):
    __hash__ = None


@pytest.mark.parametrize(
    ("wait", "waits"),
    [
        (2.0, fixed(2.0)),
        ((1.0, 2.0, 4.0), fixed(1.0, 2.0, 4.0)),
        (wait_fixed(3), fixed(3.0)),
        (wait_incrementing(start=1, increment=2, max=5), fixed(1.0, 3.0, 5.0)),
        (wait_incrementing(start=5, increment=-2), fixed(5.0, 3.0, 1.0, 0.0)),
        (wait_fixed(-1), fixed(0.0)),
        (wait_fixed(2 * LONGEST), fixed(LONGEST)),
        (wait_random(1, 4), Waits(later=(1.0, 4.0))),
        (wait_random_exponential(multiplier=1, max=8), Waits(((0.0, 1.0), (0.0, 2.0), (0.0, 4.0)), (0.0, 8.0))),
        (wait_chain(wait_fixed(1), wait_random(2, 5)), Waits(((1.0, 1.0),), (2.0, 5.0))),
        (wait_fixed(1) + wait_random(0, 2), Waits(later=(1.0, 3.0))),
        (
            wait_incrementing(start=1, increment=1),
            Waits(tuple((float(n), float(n)) for n in range(1, 201)), (200.0, LONGEST)),
        ),
    ],
)
def test_the_waits_of_a_strategy_are_known(wait, waits):
    assert waits_of(wait) == waits


@pytest.mark.parametrize(
    "wait",
    [
        lambda call: 3.0,
        Own(),
        Unhashable(),
        wait_fixed(1) + Own(),
        wait_chain(wait_fixed(1), Own()),
        tenacity.wait.wait_exception(lambda error: 3.0),
    ],
    ids=["function", "own", "unhashable", "sum", "chain", "by error"],
)
def test_the_waits_of_a_function_are_not_known(wait):
    found = waits_of(wait)
    assert (found.first, found.later) == ((), (0.0, 0.0))
    assert found.why[0].endswith(" is a function, and its waits are not known")


@pytest.mark.parametrize(
    ("stop", "attempts", "most", "ends"),
    [
        (None, 3, 3, ALWAYS),
        (None, None, math.inf, ALWAYS),
        (stop_never, None, math.inf, ALWAYS),
        (stop_after_attempt(2), 5, 2, ALWAYS),
        (stop_after_attempt(7), 5, 5, ALWAYS),
        (stop_after_attempt(0), None, 1, ALWAYS),
        (stop_after_delay(4), 5, 5, Ends(after=4.0)),
        (stop_before_delay(4), None, math.inf, Ends(before=4.0)),
        (stop_after_delay(4) | stop_after_delay(9) | stop_after_attempt(2), None, 2, Ends(after=4.0)),
        (stop_after_delay(9) | (stop_before_delay(7) | stop_before_delay(3)), 6, 6, Ends(9.0, 3.0)),
        (stop_after_delay(9) & stop_after_attempt(2), 6, 6, ALWAYS),
        (lambda state: True, 6, 6, ALWAYS),
    ],
)
def test_the_end_of_a_retry_is_known(stop, attempts, most, ends):
    assert ends_of(stop, attempts) == (most, ends)
