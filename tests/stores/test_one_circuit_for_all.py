"""16 failing calls, one at a time, against a circuit that opens at 3 failures: 3 reach the service, 13 are rejected.

Wherever they are made: state by process, or in the breaker itself, lets 6 or all 16 of them through.
"""

import importlib.util
import os
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import failing_calls
import pytest
from sharing import HERE, sharing

CALLS = 16


def assert_3_failed_and_13_were_rejected(folder, answers, processes):
    """Hold what each call gave, `(pid, error)`, and what the service noted, against what is right."""
    assert [error for _, error in answers] == ["ConnectionError"] * 3 + ["CircuitOpen"] * 13
    reached = [int(line) for line in (folder / "reached").read_text().split()]
    assert reached == [pid for pid, _ in answers[:3]]
    took_part = {pid for pid, _ in answers}
    if processes == 1:
        assert took_part == {os.getpid()}
    else:
        assert len(took_part) >= 2
        assert os.getpid() not in took_part


def in_threads(folder):
    answers = []
    for _ in range(CALLS):
        thread = threading.Thread(target=lambda: answers.append(failing_calls.call(folder)))
        thread.start()
        thread.join()
    return answers


def test_across_the_threads_of_a_process(share, store_url, tmp_path):
    share(store_url)
    assert_3_failed_and_13_were_rejected(tmp_path, in_threads(tmp_path), processes=1)


def test_across_the_threads_of_a_process_in_its_own_memory(own_store, tmp_path):
    assert_3_failed_and_13_were_rejected(tmp_path, in_threads(tmp_path), processes=1)


def test_across_a_process_pool(share, store_url, tmp_path):
    share(store_url)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        # It starts a process only where all others are busy.
        for started in [pool.submit(failing_calls.meet, tmp_path, 4) for _ in range(4)]:
            started.result()
        answers = [pool.submit(failing_calls.call, tmp_path).result() for _ in range(CALLS)]
    assert_3_failed_and_13_were_rejected(tmp_path, answers, processes=4)


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

    @resilient_flow(task_runner=request.param())
    def around():
        answers = {}
        for sort, folder in places.items():
            if sort not in urls:
                continue
            # The processes find the first store in the environment. Both of them are told of the second one.
            told = urls[sort] if answers else None
            for meeting in [failing_tasks.meet.submit(folder, 2, told) for _ in range(2)]:
                meeting.result()
            answers[sort] = [failing_tasks.call.submit(folder).result() for _ in range(CALLS)]
        return answers

    with sharing() as share:
        share(urls["sqlite"])
        answers = around()
    return places, answers


@pytest.mark.parametrize("sort", ["sqlite", "redis"])
def test_across_the_tasks_of_a_flow(ran, sort):
    folders, answers = ran
    if sort not in answers:
        pytest.skip("redis-server is not installed")
    assert_3_failed_and_13_were_rejected(folders[sort], answers[sort], processes=2)
