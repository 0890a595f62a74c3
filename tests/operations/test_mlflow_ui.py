"""The section "MLflow" of the page on operations: the command that shows what is in the database."""

import json
import shlex
import sys
import urllib.request
from pathlib import Path

import pytest
from operations_page import shown_in
from running import Running, environment, eventually, free_port

pytest.importorskip("mlflow")


@pytest.fixture
def ui(tmp_path):
    """The page's command, on a port of its own and a database that it makes; where it listens."""
    (command,) = [shown.command for shown in shown_in("MLflow") if " ui " in shown.command]
    variable, program, *words = shlex.split(command)
    assert program.endswith("/mlflow")
    name, _, value = variable.partition("=")
    (tmp_path / "out" / "registry").mkdir(parents=True)
    port = free_port()
    no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # a process more, of which the page needs nothing
    env = environment(tmp_path / "home", **{name: value}, **no_jobs)
    with Running(
        [str(Path(sys.executable).with_name("mlflow")), *words, "--port", str(port)], env, tmp_path
    ) as process:
        eventually(lambda: process.process.poll() is not None or is_well(port))
        assert process.process.poll() is None, process.output.read_text()
        yield f"http://127.0.0.1:{port}"
    assert (tmp_path / "out" / "registry" / "mlflow.db").exists()


def is_well(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.read() == b"OK"
    except OSError:
        return False


def ask(ui, path, **body):
    request = urllib.request.Request(
        f"{ui}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_command_shows_the_months_with_their_metrics_and_tags(ui):
    experiment = ask(ui, "experiments/create", name="flight-times")["experiment_id"]
    for month, verdict in (("2013-01", "promoted"), ("2013-02", "kept")):
        tags = [{"key": "month", "value": month}, {"key": "verdict", "value": verdict}]
        run = ask(ui, "runs/create", experiment_id=experiment, start_time=0, tags=tags)["run"]["info"]["run_id"]
        ask(ui, "runs/log-metric", run_id=run, key="rmse_challenger", value=18.5, timestamp=0)
    kept = ask(ui, "runs/search", experiment_ids=[experiment], filter="tags.verdict = 'kept'")["runs"]
    assert [{tag["key"]: tag["value"] for tag in run["data"]["tags"]}["month"] for run in kept] == ["2013-02"]
    assert kept[0]["data"]["metrics"][0]["value"] == 18.5
