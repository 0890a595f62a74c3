"""`resilient-tasks explain`: what it finds, prints and answers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from resilient_tasks.cli import main
from resilient_tasks.explanation.remarks import CODES

ROOT = Path(__file__).parents[1]

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


@pytest.mark.parametrize("target", ["exits_to_explain", "exits_to_explain.py"])
def test_a_script_that_exits_while_it_is_imported_is_refused(run, folder, target):
    (folder / "exits_to_explain.py").write_text(f"{SOURCE}\nimport sys\nsys.exit(0)\n")
    code, out, err = run("--check", target)
    assert (code, out) == (2, "")
    assert 'it exits (SystemExit: 0): put what a script does under if __name__ == "__main__"' in err


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("deadline-shorter-then-attempt", "did you mean deadline-shorter-than-attempt?"),
        ("D100", "the codes are "),
        ("", "the codes are "),
    ],
)
def test_a_code_that_no_remark_has_cannot_be_ignored(run, given, advice):
    code, _, err = run("--check", "--ignore", given, "things_to_explain")
    assert code == 2
    assert f"--ignore {given}: no remark has this code; {advice}" in err


def test_the_codes_are_those_of_the_rules_and_of_the_page():
    rules = "".join((ROOT / f"resilient_tasks/explanation/rules_of_{each}.py").read_text() for each in ("code", "time"))
    page = (ROOT / "docs/explain.md").read_text(encoding="utf-8").partition("| code |")[2].partition("\n\n")[0]
    assert {*re.findall(r"`([a-z]+(?:-[a-z]+)+)`", page)} == {*CODES}
    assert {*re.findall(r'yield \(?\s*"([a-z-]+)", ', rules)} <= {*CODES}


def test_two_files_of_one_name_are_explained_each_with_its_own_neighbours(run, folder):
    for name, seconds in {"a": 1, "b": 2}.items():
        (folder / name).mkdir()
        (folder / name / "neighbour_to_explain.py").write_text(f"SECONDS = {seconds}\n")
        (folder / name / "things_to_explain.py").write_text(
            "from resilient_tasks import resilient\nimport neighbour_to_explain\n"
            "@resilient(timeout=neighbour_to_explain.SECONDS)\ndef fetch(): ...\n"
        )
    code, out, _ = run("a/things_to_explain.py", "b/things_to_explain.py:fetch", "a/things_to_explain.py")
    assert code == 0
    assert re.findall(r"timeout: (\d) s", out) == ["1", "2", "1"]
    sys.modules.pop("neighbour_to_explain", None)


def test_a_file_may_have_the_name_of_a_module_of_python(run, folder):
    import queue

    (folder / "queue.py").write_text(SOURCE)
    assert run("queue.py:fetch")[0] == 0
    assert sys.modules["queue"] is queue


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
