"""A flow for a separate process: it recovers, is degraded and fails, and then waits until it is killed."""

import sys

from resilient_tasks import Fallback, Retry, resilient_flow, resilient_task

_failing = {"recovers": 2, "degrades": 9, "fails": 9}


def _work(name):
    _failing[name] -= 1
    if _failing[name] >= 0:
        raise ConnectionError(f"{name}: refused")
    return name


@resilient_task(retry=Retry(attempts=3, wait=0.01), task_run_name="recovers-a")
def recovers():
    return _work("recovers")


@resilient_task(retry=Retry(attempts=2, wait=0.01), fallback=Fallback(value="a stand-in"))
def degrades():
    return _work("degrades")


@resilient_task(retry=Retry(attempts=2, wait=0.01))
def fails():
    return _work("fails")


@resilient_task(retry=Retry(attempts=9, wait=600))
def waits():
    raise ConnectionError("still refused")


@resilient_flow
def daily(end):
    recovers()
    degrades()
    fails.outcome()
    if end == "waits":
        waits()
    return end


if __name__ == "__main__":
    daily.with_options(flow_run_name=sys.argv[2], on_unobserved="ignore")(sys.argv[1])
