"""The workflows of a hosted CI and the hooks before a commit run what the Makefile and `.ci/run` run."""

import re
from pathlib import Path

import pytest
import yaml

import resilient_tasks

ROOT = Path(resilient_tasks.__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9.-]+):", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def commands(workflow):
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def targets(text):
    """Return what a script has `make` do."""
    words = " ".join(re.findall(r"\bmake ([^#\n;&|]+)", text)).split()
    return {word for word in words if "=" not in word and re.fullmatch(r"[a-z0-9.-]+", word)}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_that_exist(workflow):
    wanted = targets("\n".join(commands(workflow)))
    assert wanted
    assert wanted <= TARGETS


def test_the_workflows_do_all_that_a_change_has_to_pass():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    required = targets("\n".join(line for line in lines if not line.startswith("#")))
    assert required >= {"check", "demo", "test", "prefect-3.8"}
    assert required <= targets("\n".join(command for each in WORKFLOWS for command in commands(each)))


def test_the_workflows_test_every_python_that_is_supported():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = set(re.findall(r"Python :: (3\.\d+)", project))
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8"))["jobs"]
    assert supported == set(jobs["test"]["strategy"]["matrix"]["python"])
    assert supported == set(jobs["wheel"]["strategy"]["matrix"]["python"])


def test_the_hooks_before_a_commit_are_checks_of_the_makefile():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    recipe = MAKEFILE.partition("\ncheck:")[2].partition("\n\n")[0]
    for hook in repositories[0]["hooks"]:
        program, *words = hook["entry"].replace("--force-exclude", "").split()
        assert " ".join([program.replace(".venv/bin", "$(BIN)"), *words]) in recipe, hook["id"]
