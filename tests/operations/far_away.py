"""Flows whose server stands still, or is stopped and started again, in the midst of them; and how they ended.

Where that can be had, the server, the worker and the flows are each in a network namespace of their own, joined by a
bridge; elsewhere they are processes with addresses and homes of their own.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_URL, temporary_settings
from running import Running, Server, environment, eventually, free_port, path_with, run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: The states of each task, and how often its function is to be called.
EXPECTED = {
    "begins": (1, ["Pending", "Running", "Completed"]),
    "steady": (1, ["Pending", "Running", "Completed"]),
    "called": (1, ["Pending", "Running", "Completed"]),
    "inner": (1, ["Pending", "Running", "Completed"]),
    "shaky": (2, ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]),
    "hopeless": (2, ["Pending", "Running", "AwaitingRetry", "Retrying", "Degraded"]),
}


@dataclass
class Place:
    """Where a process runs: the words before its command, and its address."""

    address: str
    within: list[str] = field(default_factory=list)


@contextmanager
def three_places():
    """Give the places of a server, a worker and flows, and say in words what they are."""
    try:
        stack = ExitStack()
        places = _namespaces(stack)
    except (OSError, subprocess.CalledProcessError):
        stack.close()
        yield [Place("127.0.0.2"), Place("127.0.0.3"), Place("127.0.0.4")], "processes with homes of their own"
        return
    with stack:
        yield places, "network namespaces"


def _namespaces(stack):
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise PermissionError
    tag = f"{os.getpid() % 100000}"
    bridge, net = f"rtb{tag}", f"10.213.{os.getpid() % 250}"
    _ip("link", "add", bridge, "type", "bridge")
    stack.callback(_ip, "link", "del", bridge)
    _ip("addr", "add", f"{net}.254/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    places = []
    for number, name in enumerate(("server", "worker", "flow"), 1):
        space, link = f"rt-{name}-{tag}", f"rt{number}{tag}"
        _ip("netns", "add", space)
        stack.callback(_ip, "netns", "del", space)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", link, "master", bridge, "up")
        _ip("-n", space, "addr", "add", f"{net}.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        places.append(Place(f"{net}.{number}", ["ip", "netns", "exec", space]))
    return places


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class Ended:
    """How one run ended: what is wrong with it, if anything, and what its report says of the server."""

    name: str
    through: str
    state: str
    wrong: list[str]
    noticed: str


class FarAway:
    """A server, a worker and flows in three places.

    Args:
        folder: where homes and results go.
        places: those of the server, the worker and the flows.
        rounds: of each flow.
        seconds: that each task takes.
    """

    def __init__(self, folder, places, *, rounds, seconds):
        at_server, at_worker, self.at_flow = places
        self.folder, self.rounds, self.seconds = Path(folder), rounds, seconds
        port = free_port()
        self.server = Server(self.folder / "server", host=at_server.address, within=at_server.within, port=port)
        self.worker_env = self._env("worker", PREFECT_WORKER_QUERY_SECONDS="1")
        self.at_worker = at_worker

    def _env(self, home, **more):
        own = {"PYTHONPATH": path_with(ROOT), "RESILIENT_TASKS_HOME": str(self.folder / home)}
        return environment(self.folder / home, PREFECT_API_URL=self.server.url, **own, **more)

    @contextmanager
    def running(self, *, limit):
        """Run the server, and a worker that runs at most `limit` flows at once."""
        self.server.start()
        try:
            run(["prefect", "work-pool", "create", "far", "--type", "process"], self.worker_env, HERE)
            deploy = ["prefect", "--no-prompt", "deploy", "flow_far_away.py:far_away", "-n", "far", "-p", "far"]
            run(deploy, self.worker_env, HERE)
            worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "far", "--limit", str(limit)]
            with Running([*self.at_worker.within, *worker], self.worker_env, self.folder / "worker", "worker"):
                yield self
        finally:
            self.server.stop()

    def outage(self, name, how, *, seconds, through_worker, called):
        """Begin runs, have the server away for `seconds` in the midst of them, and return how each ended."""
        folder = self.folder / name
        folders = [folder / f"{n}-worker" for n in range(through_worker)] + [
            folder / f"{n}-called" for n in range(called)
        ]
        for each in folders:
            each.mkdir(parents=True)
        with ExitStack() as stack, temporary_settings({PREFECT_API_URL: self.server.url}):
            self._begin(folders, stack)
            eventually(lambda: all((each / "begins").exists() for each in folders), 300)
            how(self.server, seconds, (folder / "go").touch)
            return [self._ended(each) for each in folders]

    def _begin(self, folders, stack):
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("far-away/far")
            for each in folders:
                given = {"folder": str(each), "rounds": self.rounds, "seconds": self.seconds}
                if each.name.endswith("worker"):
                    client.create_flow_run_from_deployment(deployment.id, parameters=given)
                    continue
                script = [sys.executable, str(HERE / "flow_far_away.py"), *map(str, given.values())]
                env = self._env(f"home-{each.name}")
                stack.enter_context(Running([*self.at_flow.within, *script], env, each, "flow"))

    def _ended(self, folder):
        with get_client(sync_client=True) as client:
            mine = eventually(lambda: self._runs_of(client, folder), 300)
            wrong = []
            for flow_run in mine.values():
                wrong += self._wrong_with_tasks(client, flow_run, folder)
            outer = mine["far-away"]
            if outer.state_name != "Degraded":
                wrong.append(f"the run ended {outer.state_name}: {outer.state.message}")
            elif (folder / "results").read_text().split("\n") != self._results():
                wrong.append(f"other results: {(folder / 'results').read_text().splitlines()}")
            if any(run.run_count != 1 for run in mine.values()):
                wrong.append("a flow run was counted twice")
            noticed = [line.strip("- ") for line in self._report(client, outer).splitlines() if "Prefect API" in line]
            through = folder.name.partition("-")[2]
            return Ended(outer.name, through, outer.state_name, wrong, "; ".join(noticed))

    def _runs_of(self, client, folder):
        """Return the runs of the outer and the inner flow with this folder, once all have ended."""
        runs = [run for run in client.read_flow_runs(limit=200) if run.parameters.get("folder") == str(folder)]
        names = {flow_id: client.read_flow(flow_id).name for flow_id in {run.flow_id for run in runs}}
        mine = {f"{names[run.flow_id]}{run.parameters.get('number', '')}": run for run in runs}
        outer = mine.get("far-away")
        is_over = outer is not None and outer.state.is_final() and all(run.state.is_final() for run in runs)
        return mine if is_over else None

    def _wrong_with_tasks(self, client, flow_run, folder):
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
        deadline = time.monotonic() + 30  # the server writes the last events down a moment later
        while True:
            wrong, seen = [], 0
            for task_run in client.read_task_runs(flow_run_filter=of_run, limit=200):
                name = task_run.name.partition("-")[0]
                is_flow = name == "inner" and not task_run.task_inputs.get("name") and "seconds" in task_run.task_inputs
                if is_flow and flow_run.parameters.get("number") is None:
                    continue  # stands for the inner flow in the outer one
                seen += 1
                states = sorted(client.read_task_run_states(task_run.id), key=lambda state: state.timestamp)
                wrong += _differences(task_run, [state.name for state in states], folder)
            expected = 1 if flow_run.parameters.get("number") is not None else 1 + 4 * self.rounds
            if seen != expected:
                wrong.append(f"{seen} task runs instead of {expected}")
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(0.5)

    def _results(self):
        kinds = ("steady-{}", "shaky-{}", "instead of hopeless-{}", "inner-{}", "called-{}")
        return [kind.format(number) for number in range(self.rounds) for kind in kinds]

    def _report(self, client, flow_run):
        of_run, of_key = {"id": {"any_": [str(flow_run.id)]}}, {"key": {"any_": ["resilience-report"]}}
        found = client._client.post("/artifacts/filter", json={"flow_runs": of_run, "artifacts": of_key}).json()
        return "\n".join(artifact["data"] for artifact in found).replace("\\", "")


def _differences(task_run, states, folder):
    kind = task_run.name.partition("-")[0]
    tries, expected = EXPECTED[kind]
    noted = folder / ("begins" if kind == "begins" else task_run.name)
    made = len(noted.read_text().splitlines()) if noted.exists() else 0
    if states != expected:
        yield f"{task_run.name} went through {states}"
    if not made == task_run.run_count == tries:
        yield f"{task_run.name} was called {made} times, and is counted {task_run.run_count} times, not {tries}"


def stopped(server, seconds, go_on):
    """Stop the server for a while, in which runs `go_on`, and start it again on the same database."""
    server.stop()
    go_on()
    time.sleep(seconds)
    server.start()


def frozen(server, seconds, go_on):
    """Have the server stand still for a while, in which runs `go_on`: it accepts connections, and does not answer."""
    server.freeze()
    try:
        go_on()
        time.sleep(seconds)
    finally:
        server.thaw()
