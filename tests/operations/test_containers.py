"""The compose file: what it says is checked, and its commands run as processes of this machine, without containers."""

import contextlib
import json
import re
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from running import Running, environment, eventually, free_port, run

from resilient_tasks.core.settings import Settings
from resilient_tasks.testing.smtp import MailServer

yaml = pytest.importorskip("yaml")

HERE = Path(__file__).parents[2] / "examples" / "compose"
COMPOSE = yaml.safe_load((HERE / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
#: Of the compose specification, as far as a service here may use it.
KEYS = {
    *("build", "command", "depends_on", "environment", "healthcheck", "image", "init", "ports", "restart"),
    "volumes",
}
CHECKS = {"test", "interval", "timeout", "retries", "start_period"}
OURS = [name for name, service in SERVICES.items() if "build" in service]


def variables():
    return [(name, key, value) for name, one in SERVICES.items() for key, value in one.get("environment", {}).items()]


def test_it_has_what_a_pipeline_needs():
    assert SERVICES.keys() == {"server", "worker", "redis", "mlflow", "mail"}
    assert COMPOSE.keys() <= {"name", "services", "volumes", "x-ours"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_uses_keys_that_the_specification_has(name):
    service = SERVICES[name]
    assert service.keys() <= KEYS
    assert service["healthcheck"].keys() <= CHECKS
    assert all(re.fullmatch(r"\d+[sm]", str(service["healthcheck"][key])) for key in ("interval", "timeout"))
    assert service["healthcheck"]["test"][0] == "CMD"
    assert all(isinstance(value, str) for value in service.get("environment", {}).values()), "YAML made no text of it"


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_or_built(name):
    service = SERVICES[name]
    if name in OURS:
        context = (HERE / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).is_file()
        assert (context / "pyproject.toml").is_file()
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-\w+)?", service["image"])


def test_the_dockerfile_copies_what_there_is_and_pins_its_base():
    text = (HERE / "Dockerfile").read_text()
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim", text, re.MULTILINE)
    root, ignored = HERE.parents[1], (HERE / "Dockerfile.dockerignore").read_text().splitlines()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (root / source).exists()
            assert f"!{source}" in ignored
    assert text.rstrip().splitlines()[-1] == "USER runner"


def test_the_extras_that_it_installs_exist():
    import tomllib

    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[(.+)\]'", (HERE / "Dockerfile").read_text())
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_a_service_waits_for_services_that_tell_when_they_are_well():
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[other]


def test_volumes_are_declared_and_used_and_owned_by_the_user_of_the_image():
    mounted = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {source for source, *_ in mounted if not source.startswith(".")}
    assert named == COMPOSE["volumes"].keys()
    made = re.search(r"chown runner: (.+)", (HERE / "Dockerfile").read_text())[1].split()
    for name in OURS:
        for mount in SERVICES[name].get("volumes", []):
            source, target, *how = mount.split(":")
            if source.startswith("."):
                assert (HERE / source).is_dir()
                assert how == ["ro"]
            else:
                assert target in made


def test_nothing_is_published_beyond_this_machine():
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


@pytest.mark.parametrize(("service", "name", "value"), variables())
def test_a_variable_sets_something(service, name, value):
    if name.startswith("RESILIENT_TASKS_"):
        assert name.removeprefix("RESILIENT_TASKS_").lower() in {*(one.name for one in fields(Settings)), "home"}
    elif name.startswith("PREFECT_"):
        from prefect.settings import Settings as Prefects
        from prefect.settings.legacy import _get_valid_setting_names

        assert name in _get_valid_setting_names(Prefects)
    else:
        import mlflow.environment_variables as mlflows

        assert name.startswith("MLFLOW_")
        assert hasattr(mlflows, name) or name in Path(mlflows.__file__).parent.joinpath("utils/uri.py").read_text()


@pytest.mark.parametrize(("service", "name", "value"), [one for one in variables() if "://" in one[2]])
def test_an_address_names_a_service_and_the_port_on_which_it_listens(service, name, value):
    parts = urlsplit(value)
    if parts.hostname == "localhost":  # as a browser sees it
        assert f"127.0.0.1:{parts.port}:{parts.port}" in SERVICES[service]["ports"]
    else:
        assert str(parts.port) in " ".join(SERVICES[parts.hostname]["command"])
        assert parts.hostname in SERVICES[service].get("depends_on", {parts.hostname: None})


FLOW = '''
"""A flow with its circuit in Redis, and an alert by mail."""

from resilient_tasks import CircuitBreaker, Email, resilient_flow, resilient_task

MAIL = Email(to="ml@example.org", sender="flows@example.org", host="127.0.0.1", port={port}, security="none")


@resilient_task(breaker=CircuitBreaker("flights-api", failures=1), notify=MAIL, fallback=lambda: "last month's")
def fetch():
    raise ConnectionError("refused")


@resilient_flow
def monthly():
    return fetch()
'''


class Machine:
    """The services as processes: their names become 127.0.0.1, their ports free ones, their volumes folders."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {"4200": free_port(), "5000": free_port(), "6379": free_port(), "8080": free_port()}
        self.running = {}

    def here(self, text):
        for port, free in self.ports.items():
            text = re.sub(rf"(?<![\d.]){port}(?!\d)", str(free), text)
        text = re.sub(r"(?<=://)(server|redis|mlflow)(?=:)|localhost|0\.0\.0\.0|(?<==)mlflow(?=:)", "127.0.0.1", text)
        return text.replace("/var/lib/", f"{self.folder}/var/lib/")

    def start(self, name):
        service, home = SERVICES[name], self.folder / name
        for mount in service.get("volumes", []):
            if mount.split(":")[1].startswith("/var/lib/"):
                Path(self.here(mount.split(":")[1])).mkdir(parents=True, exist_ok=True)
        given = {key: self.here(value) for key, value in service.get("environment", {}).items()}
        self.env = environment(home, **given)
        self.running[name] = Running([self.here(word) for word in service["command"]], self.env, home, name)
        eventually(lambda: self.is_well(name))

    def is_well(self, name):
        process = self.running[name]
        assert process.process.poll() is None, process.output.read_text()
        command = [self.here(word) for word in SERVICES[name]["healthcheck"]["test"][1:]]
        try:
            run(command, self.env, self.folder)
        except AssertionError:
            return False
        return True

    def stop(self):
        for process in reversed(self.running.values()):
            process.stop()


@pytest.fixture
def machine(tmp_path):
    for program in ("redis-server", "redis-cli"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    pytest.importorskip("redis")
    pytest.importorskip("mlflow")
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def mail():
    with MailServer(auth=False) as server:
        yield server


def test_the_commands_start_become_well_and_carry_a_flow_to_its_end(machine, tmp_path, mail):
    """In the place of Mailpit is the library's mail server for tests, which asks for no login as Mailpit does."""
    for name in ("redis", "server", "worker"):
        machine.start(name)
    api = machine.here(SERVICES["worker"]["environment"]["PREFECT_API_URL"])
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "flow.py").write_text(FLOW.format(port=mail.port))
    here = environment(tmp_path / "laptop", PREFECT_API_URL=api)
    eventually(lambda: _knows_the_pool(api))  # the worker makes it
    run(["prefect", "--no-prompt", "deploy", "flow.py:monthly", "-n", "once", "-p", "ml"], here, flows)
    said = run(["prefect", "deployment", "run", "monthly/once", "--watch"], here, flows)
    assert "Flow run is in state 'Degraded'" in said or "finished" in said, said
    import redis

    assert any(b"flights-api" in key for key in redis.Redis(port=machine.ports["6379"]).keys("*"))
    (letter,) = eventually(lambda: mail.messages)
    assert "fetch" in letter.subject


def _knows_the_pool(api):
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{api}/work_pools/ml", timeout=30):
        return True
    return False


def test_mlflow_starts_by_its_command_and_answers_under_the_service_s_name(machine):
    machine.start("mlflow")
    port = machine.ports["5000"]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["experiments"][0]["name"] == "Default"
