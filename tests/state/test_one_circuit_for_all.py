"""16 failing calls, one at a time, against a circuit that opens at 3 failures: 3 reach the service, 13 are rejected.

Wherever they are made: state by process, or in the breaker itself, lets 6 or all 16 of them through.
"""

import importlib.util
import os
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import counting
import failing_calls
import pytest
import under_load
from sharing import HERE, PATIENT, sharing


def assert_3_failed_and_13_were_rejected(folder, answers):
    """Check the result of each call, `(pid, error)`, and the calls that reached the service."""
    assert [error for _, error in answers] == ["ConnectionError"] * 3 + ["CircuitOpen"] * 13
    reached = [int(line) for line in (folder / "reached").read_text().split()]
    assert reached == [pid for pid, _ in answers[:3]]


def assert_it_was_in_two_processes(answers):
    """Check that two failures were in one process, and the third in the other, which then rejected calls."""
    first, then = ({pid for pid, _ in part} for part in (answers[:2], answers[2:]))
    assert len(first) == 1
    assert not first & then
    assert os.getpid() not in first | then


def in_threads(folder):
    answers = []
    for _ in range(failing_calls.CALLS):
        thread = threading.Thread(target=lambda: answers.append(failing_calls.call(folder)))
        thread.start()
        thread.join()
    return answers


def test_across_the_threads_of_a_process(share, store_url, tmp_path):
    share(store_url, PATIENT)
    assert_3_failed_and_13_were_rejected(tmp_path, in_threads(tmp_path))


def test_across_the_threads_of_a_process_in_its_own_memory(own_store, tmp_path):
    assert_3_failed_and_13_were_rejected(tmp_path, in_threads(tmp_path))


def test_across_a_process_pool(share, store_url, tmp_path):
    share(store_url, PATIENT)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:

        def submit(name, *given):
            return pool.submit(getattr(failing_calls, name), *given)

        answers = failing_calls.in_two_processes(submit, tmp_path)
    assert_3_failed_and_13_were_rejected(tmp_path, answers)
    assert_it_was_in_two_processes(answers)


def test_a_success_from_before_the_failures_of_others_does_not_reset_them(worker_pool, store_url):
    worker_pool.all(counting.use_store_at, store_url, PATIENT)
    assert worker_pool.one(1, under_load.succeed, 3) == ["done"] * 3
    time.sleep(under_load.STALE)  # a process writes successes after this time
    assert worker_pool.one(0, under_load.fail, 2) == ["ConnectionError"] * 2
    assert worker_pool.one(1, under_load.fail, 2) == ["ConnectionError", "CircuitOpen"]


def prefects_pool():
    from prefect.task_runners import ProcessPoolTaskRunner

    return ProcessPoolTaskRunner(max_workers=2)


def dask():
    from prefect_dask import DaskTaskRunner

    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


def ray():
    from prefect_ray import RayTaskRunner

    there = {"env_vars": {"PYTHONPATH": HERE}}
    return RayTaskRunner(init_kwargs={"num_cpus": 2, "include_dashboard": False, "runtime_env": there})


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(prefects_pool, id="process-pool"),
        pytest.param(dask, id="dask", marks=needs("prefect_dask")),
        pytest.param(ray, id="ray", marks=needs("prefect_ray")),
    ],
)
def ran(request, resilient_prefect, tmp_path_factory):
    """One flow run in each place; in it the calls are made once for each store, with a folder for each."""
    import failing_tasks

    from resilient_tasks import resilient_flow

    places = {sort: tmp_path_factory.mktemp(sort) for sort in ("sqlite", "redis")}
    urls = {"sqlite": f"sqlite:///{places['sqlite']}/states.db"}
    if shutil.which("redis-server"):
        server = request.getfixturevalue("redis_server")
        server.empty()
        urls["redis"] = server.url

    def submit(name, *given):
        return getattr(failing_tasks, name).submit(*given)

    @resilient_flow(task_runner=request.param())
    def around():
        # The processes find the first store in the environment; both get the URL of the second one.
        first, *others = urls
        answers = {first: failing_calls.in_two_processes(submit, places[first])}
        return answers | {sort: failing_calls.in_two_processes(submit, places[sort], urls[sort]) for sort in others}

    with sharing() as share:
        share(urls["sqlite"], PATIENT)
        answers = around()
    return places, answers


@pytest.mark.parametrize("sort", ["sqlite", "redis"])
def test_across_the_tasks_of_a_flow(ran, sort):
    folders, answers = ran
    if sort not in answers:
        pytest.skip("redis-server is not installed")
    assert_3_failed_and_13_were_rejected(folders[sort], answers[sort])
    assert_it_was_in_two_processes(answers[sort])
