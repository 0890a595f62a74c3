"""Months of the flow to their end: served on a schedule, on Dask, poisoned, degraded, and promoted.

The API serves every fifth flight: what is claimed of the months holds for those, too, in a fifth of the time.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import champions
import flow
import manage
import psutil
import pytest
import reading
import records
import registry
import reported
import runners
import serve
import yaml
from accounts import Accounts
from api import ORIGINS
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.settings import get_current_settings
from servers import flights_api

from resilient_tasks import CircuitBreaker, RunReport, configure, resilient_flow
from resilient_tasks.core import settings
from resilient_tasks.observe.journal_read import Recording
from resilient_tasks.testing import FakeSlack

EXAMPLE = Path(flow.__file__).parent
SEED = 96  # few faults in these months, and no planes to be had in June
POISONED = 5
SHARE = 0.2
AIRPORTS = list(ORIGINS)


def environment(**more):
    known = get_current_settings().to_environment_variables(exclude_unset=True)
    often = {"PREFECT_RUNNER_POLL_FREQUENCY": "1", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    return {**os.environ, **known, **often, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **more}


@contextmanager
def started(folder, *command, **more):
    """Start a process of Python, and end it after the block if it still runs."""
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command], env=environment(**more), cwd=EXAMPLE, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def eventually(look, process, folder, within=600):
    until, pause = time.monotonic() + within, 0.3
    while not (seen := look()):
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < until, (folder / "output.txt").read_text()
        time.sleep(pause)
        pause = min(1, pause * 1.1)
    return seen


def ended(run_id):
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
    return run if run.state.is_final() else None


def deployed(name):
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name)
        except Exception:
            return None


def on_dask(out, patch):
    """Run January and May on Dask, in a registry of their own, and a third month with an isolated circuit."""
    api = {"PREFECT_API_URL": get_current_settings().api.url}  # or else a worker that logs an alert starts a server
    store = {"RESILIENT_TASKS_STORE": f"sqlite:///{out / 'store.db'}"}
    for name, value in {**runners.places(out), **store, **api}.items():
        patch.setenv(name, value)
    configure(store=os.environ["RESILIENT_TASKS_STORE"], quarantine=str(out / "quarantine"), events=out / "events")
    found = SimpleNamespace(out=out, registry=registry.Registry(out / "registry"))

    @resilient_flow(task_runner=runners.task_runner("dask"))
    def months():
        found.months = [flow.one_month(month, 1, AIRPORTS) for month in (1, 5)]
        found.circuits = CircuitBreaker.names()
        CircuitBreaker("flights-api").isolate()
        found.months.append(flow.one_month(9, 1, AIRPORTS))

    found.state = months(return_state=True)
    return found


def served(folder, out):
    """Run the deployment of `serve.py` once, as its schedule would: with the next month."""
    with started(folder, "serve.py", "--out", str(out), "--cron", "0 6 1 1 *") as process:
        deployment = eventually(lambda: deployed("retrain-month/monthly"), process, folder)
        run = run_deployment("retrain-month/monthly", timeout=0, as_subflow=False)
        return deployment, eventually(lambda: ended(run.id), process, folder)


def left_behind(*outs):
    """Return the commands of processes that have one of these folders, are no children of this one, and do not end."""
    mine = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in mine and process.environ().get("FLIGHT_TIMES_OUT") in map(str, outs):
                found.append(process)
    _, left = psutil.wait_procs(found, timeout=60)
    return [process.cmdline() for process in left]


@pytest.fixture(scope="module")
def year(resilient_prefect, tmp_path_factory):
    """January, May poisoned, June without planes, and July served on a schedule, in one registry."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("served", "out", "api", "dask")}
    out = folders["out"]
    with ExitStack() as around, pytest.MonkeyPatch.context() as patch:
        api = around.enter_context(flights_api(folders["api"], seed=SEED, poison=POISONED, share=SHARE))
        slack = around.enter_context(FakeSlack())
        patch.setattr(settings, "current", settings.Settings())
        for name, value in {
            "FLIGHT_TIMES_API": api,
            "SLACK_WEBHOOK_URL": slack.webhook_url,
            **runners.places(out),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "*",
        }.items():
            patch.setenv(name, value)
        # It reads the files of every installed package, only to warn: two seconds, and no part of what is tested.
        patch.setattr("mlflow.utils.environment.warn_dependency_requirement_mismatches", lambda _: None)
        configure(quarantine=str(out / "quarantine"), last_good=str(out / "last_good"), events=out / "events")
        found = SimpleNamespace(out=out, registry=registry.Registry(out / "registry"))
        found.january = flow.retrain_month("2013-01", origins=AIRPORTS, return_state=True)
        before = sorted((out / "registry" / "models").rglob("*.skops"))
        found.may = flow.retrain_month("2013-05", return_state=True)
        found.trained_in_may = sorted((out / "registry" / "models").rglob("*.skops")) != before
        found.champion_after_may = found.registry.under(registry.CHAMPION)
        found.june = flow.retrain_month("2013-06", return_state=True)
        found.champion_after_june = found.registry.under(registry.CHAMPION)
        found.served, found.july = served(folders["served"], out)
        found.dask = on_dask(folders["dask"], patch)
        reading.close(api)
        found.left = left_behind(out, folders["dask"])
        found.api = folders["api"]
    found.accounts = Accounts()
    reading.read_api(found.accounts, folders["api"])
    for each in (found, found.dask):
        client = each.registry.client()
        experiment = client.get_experiment_by_name(registry.NAME)
        each.runs = {run.data.tags["month"]: run for run in client.search_runs([experiment.experiment_id])}
    return found


def test_the_first_challenger_is_the_first_champion(year):
    assert year.january.is_completed(), year.january.message
    tags = year.runs["2013-01"].data.tags
    assert (tags["verdict"], tags["version"]) == ("promoted", "1")


def test_what_is_served_takes_the_next_month(year):
    assert year.july.parameters == {"month": "next", "seed": 1}
    assert year.july.state.is_completed(), year.july.state.message
    assert year.runs["2013-07"].data.tags["flow_run_id"] == str(year.july.id)
    assert [schedule.schedule.cron for schedule in year.served.schedules] == ["0 6 1 1 *"]


def test_the_parameters_can_be_edited_and_know_their_values(year):
    known = year.served.parameter_openapi_schema["properties"]

    assert known["month"]["enum"][:2] == ["next", "2013-01"]
    assert len(known["month"]["enum"]) == 13
    assert known["seed"]["type"] == "integer"
    assert year.served.enforce_parameter_schema


def test_what_is_deployed_to_the_work_pool_is_the_same_flow_with_parameters_that_it_takes():
    (deployment,) = yaml.safe_load((EXAMPLE / "prefect.yaml").read_text())["deployments"]
    file, _, name = deployment["entrypoint"].partition(":")

    assert (EXAMPLE / file, getattr(flow, name)) == (Path(flow.__file__), flow.retrain_month)
    assert flow.retrain_month.validate_parameters(deployment["parameters"])["month"] == "next"
    assert deployment["work_pool"]["name"] == "ml"


def test_nothing_is_trained_on_a_poisoned_month_and_the_champion_is_untouched(year):
    assert year.may.is_failed()
    assert not year.trained_in_may
    assert year.champion_after_may == 1
    run = year.runs["2013-05"]
    assert run.data.tags["verdict"] == "not trained"
    assert re.fullmatch(
        r"not trained: 3 of 3 pages refused by the schema \(air_time: not in 5 to 1000 ×2,\d{3}\)",
        run.data.tags["why"],
    )
    assert "NotTrainedError: 2013-05 was not trained: 3 of 3 pages" in repr(year.may.message) + str(year.may.message)


def test_each_row_of_the_poisoned_month_is_accounted_for(year):
    metrics = year.runs["2013-05"].data.metrics

    assert metrics["rows_read"] == 5_759
    corrupted = sum(rows for page, rows in year.accounts.corrupted.items() if page.startswith("May "))
    assert metrics["rows_quarantined"] == corrupted
    assert metrics["rows_used"] == metrics["rows_missing"] == 0
    assert metrics["rows_read"] == metrics["rows_quarantined"] + metrics["rows_withheld"]


def test_a_challenger_of_degraded_data_is_registered_and_tagged_and_not_promoted(year):
    assert year.june.name == "Degraded"
    assert year.champion_after_june == 1
    run = year.runs["2013-06"]
    assert (run.data.tags["verdict"], run.data.tags["degraded"]) == ("refused", "planes")
    tags = year.registry.tags(int(run.data.tags["version"]))
    assert tags["degraded"] == "planes are a stand-in"
    assert tags["why"] == "trained on degraded data: planes are a stand-in"
    assert run.data.metrics["ratio_high"] < 0.98, "by its error it would have been promoted"


def test_the_real_drift_of_july_leads_to_a_promotion(year):
    run = year.runs["2013-07"]
    assert run.data.tags["verdict"] == "promoted"
    assert run.data.tags["drift"].startswith("air_time shifted (PSI 0.16")
    assert run.data.metrics["ratio_high"] < 0.98
    assert run.data.metrics["rmse_champion"] == run.data.metrics["rmse_frozen"] == pytest.approx(16.7, abs=0.5)
    assert run.data.metrics["rmse_challenger"] == pytest.approx(11.5, abs=0.5)


def test_no_process_is_left_behind(year):
    assert year.left == []


@pytest.mark.parametrize("month", ["2013-01", "2013-05"])
def test_a_month_on_dask_comes_to_the_same_as_on_threads(year, month):
    here, there = year.runs[month].data, year.dask.runs[month].data

    assert there.tags["verdict"] == here.tags["verdict"]
    kept = {name for name in here.metrics if name.startswith(("rows_", "rmse_"))}
    assert {name: there.metrics[name] for name in kept} == {name: here.metrics[name] for name in kept}


def test_the_flow_hears_what_happens_in_both_processes_of_dask(year):
    heard_in = list((year.dask.out / "events").glob("*/*.jsonl"))

    assert len([path for path in heard_in if f"-{os.getpid()}-" not in path.name]) == 2
    assert year.dask.months[1].quarantined == year.dask.runs["2013-05"].data.metrics["rows_quarantined"] > 0


def test_the_processes_of_dask_share_one_circuit_and_ask_nothing_while_it_is_isolated(year):
    assert year.dask.circuits == ["flights-api"]
    assert year.dask.months[2].note == "not trained: index: CircuitOpen"
    assert year.accounts.faults_in("September") == {}, "no request was sent"


def test_the_flow_itself_takes_another_task_runner():
    elsewhere = flow.flight_times.with_options(task_runner=runners.task_runner("dask"))

    assert type(elsewhere.task_runner).__name__ == "DaskTaskRunner"
    assert elsewhere.fn.__code__ is flow.flight_times.fn.__code__


def test_each_month_is_a_run_that_can_be_compared(year):
    assert sorted(year.runs) == ["2013-01", "2013-05", "2013-06", "2013-07"]
    for run in year.runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.params == {
            "seed": "1", "margin": "0.02", "level": "0.9", "resamples": "10000", "days held out": "7",
        }  # fmt: skip
        assert {"retries", "quarantined_rows", "degraded", "verdict", "drift", "flow_run_id"} <= set(run.data.tags)
        assert {"rows_read", "rows_used", "rows_quarantined", "retries", "waited_s"} <= set(run.data.metrics)
    repeated = {month: run.data.metrics["retries"] for month, run in year.runs.items()}
    faults = {month: sum(map(len, year.accounts.faults_in(name).values())) for month, name in MONTHS.items()}
    slow = year.accounts.slow().total()
    assert all(faults[month] <= repeated[month] + 12 + slow for month in MONTHS)
    assert repeated["2013-06"] >= 4, "the planes were asked for five times"


MONTHS = {"2013-01": "January", "2013-06": "June", "2013-07": "July"}


def test_the_runs_report_is_an_artifact_that_asks_the_network_for_nothing(year):
    client = year.registry.client()
    for month, run in year.runs.items():
        names = [file.path for file in client.list_artifacts(run.info.run_id)]
        assert "report.html" in names
        text = (Path(run.info.artifact_uri.removeprefix("file://")) / "report.html").read_text()
        assert f"<title>{month}</title>" in text
        assert "http" not in re.sub(r"HTTP \d+", "", text)
    assert "planes" in text or "fetch" in text


def test_the_former_champion_is_named_and_one_command_restores_it(year, capsys):
    out = ["--out", str(year.out)]
    assert year.registry.under(registry.CHALLENGER) == year.registry.under(registry.CHAMPION) == 3
    assert [(move.month, move.what) for move in champions.history(year.registry)] == [
        ("2013-01", "promoted"),
        ("2013-07", "promoted"),
    ]

    assert manage.main([*out, "rollback", "--why", "late flights"]) == 0
    assert year.registry.under(registry.CHAMPION) == 1
    assert manage.main([*out, "promote", "2", "--why", "planes checked by hand"]) == 0

    assert year.registry.champion().month == "2013-06"
    assert "2013-06  version 2 promoted by" in capsys.readouterr().out


def test_the_history_is_drawn(year, tmp_path):
    assert manage.main(["--out", str(year.out), "plot", str(tmp_path / "champions.png")]) == 0

    assert (tmp_path / "champions.png").read_bytes().startswith(b"\x89PNG")


def test_served_without_a_server_it_says_what_to_start(tmp_path, monkeypatch, capsys):
    nowhere = SimpleNamespace(api=SimpleNamespace(url=None))
    monkeypatch.setattr("prefect.settings.get_current_settings", lambda: nowhere)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["serve.py", "--out", str(tmp_path)])

    assert serve.main() == 2
    assert "cannot start: PREFECT_API_URL names no server: start one with `prefect server start`" in (
        capsys.readouterr().out
    )


def test_the_months_and_airports_that_the_api_serves_hold_the_same_rows(tmp_path):
    import api

    served = api.FlightsApi(1, tmp_path, POISONED, SHARE)

    assert sum(map(sum, served.pages.values())) == sum(map(sum, served.pages_by_origin.values())) == 67_356
    cells = [json.loads(line) for line in (tmp_path / "corrupted.jsonl").read_text().splitlines()]
    poisoned = [cell for cell in cells if cell.get("poisoned")]
    assert {cell["month"] for cell in poisoned} == {POISONED}
    assert len(poisoned) == pytest.approx(5_759 / 2, rel=0.05)
    for cell in cells[::197]:
        page = served(SimpleNamespace(
            path="/flights",
            query={"month": str(cell["month"]), "page": str(cell["page_at_origin"]), "origin": cell["origin"]},
        )).body  # fmt: skip
        assert str(cell["became"]) in page


@pytest.fixture(scope="module")
def june(year, tmp_path_factory):
    """The event file of June, what was held against its report, and the accounts."""
    run = year.june.state_details.flow_run_id
    (file,) = (year.out / "events" / str(run)).glob("*.jsonl")
    log = [json.loads(line) for line in (year.api / "requests.jsonl").read_text().splitlines()]
    kept = [line for line in log if line["query"].get("month") == "6" or line["id"] == reading.CLOSING]
    cells = [json.loads(line) for line in (year.api / "corrupted.jsonl").read_text().splitlines()]
    folder = tmp_path_factory.mktemp("june")
    for name, lines in (
        ("requests", [{**line, "number": number} for number, line in enumerate(kept, 1)]),
        ("corrupted", [cell for cell in cells if cell["month"] == 6]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    accounts = asyncio.run(reading.gather(folder, Recording([file]).events(), run))
    booked = records.booked(year.registry, run)
    messages = RunReport.read(file).as_dict()["alerts"]["sent"]  # Slack got those of the other months, too
    return SimpleNamespace(
        lines=file.read_text().splitlines(keepends=True),
        accounts=accounts,
        held=lambda path: reported.disagreements(RunReport.read(path).as_dict(), accounts, booked, messages),
    )


def test_the_report_of_a_month_agrees_with_the_api_with_prefect_and_with_mlflow(june, tmp_path):
    (file := tmp_path / "june.jsonl").write_text("".join(june.lines))

    assert june.accounts.disagreements() == []
    assert june.held(file) == []
    assert RunReport.read(file).degraded == 1
    assert RunReport.read(file).as_dict()["counts"]["retries"] > 4


def test_each_line_that_is_dropped_from_the_events_of_a_month_is_missed(june, tmp_path):
    file = tmp_path / "june.jsonl"
    counted = ("retry.scheduled", "retry.recovered", "fallback.used", "notify.sent")
    for at, line in enumerate(june.lines):
        if json.loads(line)["event.name"] == "file.resumed":
            continue  # about the file itself: it is no event
        file.write_text("".join([*june.lines[:at], *june.lines[at + 1 :]]))
        problems = june.held(file)
        assert problems, line
        if json.loads(line)["event.name"] in counted:
            assert [each for each in problems if "is partial" not in each], line
