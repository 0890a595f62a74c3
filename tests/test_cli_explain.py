"""`resilient-tasks explain`: what it finds, prints and answers."""

import json
import subprocess
import sys

import pytest

from resilient_tasks.cli import main

SOURCE = """
from resilient_tasks import Pipeline, Retry, Timeout, resilient

@resilient(retry=3, timeout=2, idempotent=True)
def fetch(url):
    return url

@resilient(deadline=1, timeout=20)
def slow(url):
    return fetch(url)

class Client:
    @resilient(timeout=5)
    def read(self):
        return 1

careful = Pipeline(Retry(attempts=2), Timeout(1))
number = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "things_to_explain.py").write_text(SOURCE)
    (tmp_path / "broken_to_explain.py").write_text("1 / 0\n")
    (tmp_path / "nothing_to_explain.py").write_text("number = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("things_to_explain", "broken_to_explain", "nothing_to_explain"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(folder, capsys):
    def run(*words):
        code = main(["explain", *words])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "target", ["things_to_explain:fetch", "things_to_explain.py:fetch", "./things_to_explain.py:fetch"]
)
def test_one_name_is_explained(run, target):
    code, out, _ = run(target)
    assert code == 0
    assert out.startswith("function fetch\n1. retry: 3 attempts")


def test_a_method_is_found_by_its_class(run):
    assert "1. timeout: 5 s" in run("things_to_explain:Client.read")[1]


def test_a_module_is_all_that_is_resilient_in_it(run):
    _, out, _ = run("things_to_explain")
    found = [line for line in out.splitlines() if line.startswith(("function", "pipeline"))]
    assert sorted(found) == ["function Client.read", "function fetch", "function slow", "pipeline"]


def test_check_answers_1_if_there_are_remarks_and_names_their_place(run):
    code, out, _ = run("--check", "things_to_explain.py")
    assert code == 1
    assert out.startswith("things_to_explain.py:8: slow: deadline-shorter-than-attempt: ")
    assert out.endswith("4 explained, 1 remark: deadline-shorter-than-attempt ×1\n")
    assert run("--check", "things_to_explain:fetch")[0] == 0


def test_a_remark_can_be_ignored(run):
    code, out, _ = run("--check", "--ignore", "deadline-shorter-than-attempt", "things_to_explain")
    assert (code, out) == (0, "4 explained, 0 remarks\n")


def test_the_number_of_processes_can_be_given(run, folder):
    (folder / "things_to_explain.py").write_text(f"{SOURCE}\nfetch = resilient(breaker='api')(fetch)\n")
    assert run("--check", "things_to_explain:fetch")[0] == 0
    assert "state-per-process" in run("--check", "--workers", "4", "things_to_explain:fetch")[1]


def test_json_and_drawings(run, folder):
    code, out, _ = run("--json", "--check", "--svg", "slow.svg", "things_to_explain:slow", "things_to_explain:fetch")
    slow, fetch = json.loads(out)
    assert (code, slow["remarks"][0]["code"], fetch["worst_case"]["attempts"]) == (
        1,
        "deadline-shorter-than-attempt",
        3,
    )
    assert (folder / "slow.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert "┌────" in run("--draw", "things_to_explain:fetch")[1]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_module:x", "There is no module no_such_module: give module:name, or a file such as flows.py:name."),
        ("no_such_file.py", "There is no file no_such_file.py."),
        ("things_to_explain:fetsh", "things_to_explain has no fetsh"),
        ("things_to_explain:number", "explain takes a Pipeline or a function"),
        ("nothing_to_explain", "Nothing resilient is in nothing_to_explain: no task, flow, function or Pipeline."),
        ("broken_to_explain", "broken_to_explain cannot be imported: ZeroDivisionError: division by zero."),
        ("broken_to_explain.py", "broken_to_explain.py cannot be imported: ZeroDivisionError: division by zero."),
    ],
)
def test_what_cannot_be_explained_is_refused_with_the_reason(run, target, why):
    code, _, err = run(target)
    assert code == 2
    assert why in err


def test_python_runs_the_package(folder):
    command = [sys.executable, "-m", "resilient_tasks", "explain", "--check", "things_to_explain:fetch"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1 explained, 0 remarks\n"
