"""The surprises in Prefect that `docs/prefect.md` describes, with both versions."""

import os
import subprocess
import sys
import uuid

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.transactions import transaction

from resilient_tasks import Ok, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect")


def test_a_result_storage_key_makes_a_task_a_cache_across_arguments_runs_and_tasks():
    ran, key = [], f"latest-{uuid.uuid4()}"

    @resilient_task(retry=2, persist_result=True, result_storage_key=key)
    def fetch(month):
        ran.append(month)
        return month

    @resilient_task(retry=2, persist_result=True, result_storage_key=key)
    def count(month):
        ran.append(month)
        return 7

    @flow
    def daily():
        return [fetch.outcome("2013-07"), fetch.outcome("2013-08"), count.outcome("2013-09")]

    outcomes = daily()
    assert [(type(outcome), outcome.value, outcome.attempts) for outcome in outcomes] == [(Ok, "2013-07", 1)] * 3
    assert ran == ["2013-07"]


def test_bare_inputs_shares_results_between_tasks_with_equal_parameters():
    @task(cache_policy=INPUTS, persist_result=True)
    def distance(month):
        return f"distance of {month}"

    @task(cache_policy=INPUTS, persist_result=True)
    def delay(month):
        return f"delay of {month}"

    month = str(uuid.uuid4())

    @flow
    def daily():
        return distance(month), delay(month)

    assert daily() == (f"distance of {month}", f"distance of {month}")


def test_the_key_of_a_set_of_texts_depends_on_the_hash_seed():
    program = (
        "from prefect.cache_policies import INPUTS;"
        "print(INPUTS.compute_key(None, {'of': {'EWR', 'JFK', 'LGA', 'BOS', 'SFO', 'LAX'}}, {}))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(keys) > 1


def test_a_handled_failure_inside_a_transaction_rolls_back_what_came_before():
    undone = []

    @task
    def write():
        return 1

    @write.on_rollback
    def undo(_):
        undone.append("write")

    @task
    def fails():
        raise ConnectionError("refused")

    @flow
    def daily():
        with transaction():
            write()
            try:
                fails()
            except ConnectionError:
                return "handled"

    assert daily(return_state=True).is_completed()
    assert undone == ["write"]
