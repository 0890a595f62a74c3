"""The smallest part of a plan that still fails. Pure."""

from __future__ import annotations

from collections.abc import Callable

from resilient_tasks.rehearsal.faults import Plan


def smallest(faults: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Return a part of `faults` that fails, and of which no part with one fault less does.

    Single faults are tried first, the most common cause; then one fault after the other is left out.

    Args:
        faults: a plan that fails.
        fails: runs a plan, and returns whether it fails in the same way.
    """
    if len(faults) <= 1:
        return faults
    for each in faults:
        if fails((each,)):
            return (each,)
    if len(faults) == 2:
        return faults
    left, is_smaller = faults, True
    while is_smaller and len(left) > 2:
        is_smaller = False
        for each in left:
            part = tuple(other for other in left if other != each)
            if fails(part):
                left, is_smaller = part, True
                break
    return left
