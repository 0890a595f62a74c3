"""What an in-memory Prefect API answers: flows, runs, states, artifacts and events, as plain JSON.

It knows the requests of Prefect's engine for flows and tasks, and those with which a test reads the results. A request
for anything else is `Missing`, and never a wrong answer.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, TypeAlias
from uuid import uuid4

Record: TypeAlias = dict[str, Any]
_FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_UNKNOWN_STATES = frozenset({"PAUSED", "CANCELLING"})


class Missing(Exception):  # says what it is about
    """The request needs a real server."""


class Absent(Exception):  # as above
    """There is no such object."""


class PrefectInMemory:
    """The objects of an API, and its answers.

    Attributes:
        flows, flow_runs, task_runs: by id.
        states: every state of each run, oldest first.
        artifacts, events: in the order in which they came.
    """

    def __init__(self) -> None:
        self.flows: dict[str, Record] = {}
        self.flow_runs: dict[str, Record] = {}
        self.task_runs: dict[str, Record] = {}
        self.states: dict[str, list[Record]] = {}
        self.artifacts: list[Record] = []
        self.events: list[Record] = []
        self.lock: AbstractContextManager[object] = threading.RLock()
        self._numbers = itertools.count(1)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """Return the status and the JSON of an answer.

        Raises:
            Missing: the request needs a real server.
            Absent: there is no such object.
        """
        for verb, pattern, respond in _ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)) is not None:
                with self.lock:
                    return respond(self, body if body is not None else dict(query), *found.groups())
        raise Missing(f"{method} {path}")

    def receive(self, event: Record) -> None:
        """Keep an event; that of a task run's state also changes the task run, as Prefect's recorder does."""
        with self.lock:
            self.events.append(event)
            if not event.get("event", "").startswith("prefect.task-run."):
                return
            run_id = event["resource"]["prefect.resource.id"].removeprefix("prefect.task-run.")
            payload = event["payload"]
            state = {**payload["validated_state"], "id": event["id"], "timestamp": event["occurred"]}
            run = self.task_runs.setdefault(run_id, _new(run_id))
            run.update({name: value for name, value in payload["task_run"].items() if value is not None})
            related = {one["prefect.resource.role"]: one["prefect.resource.id"] for one in event.get("related", [])}
            if "flow-run" in related:
                run["flow_run_id"] = related["flow-run"].removeprefix("prefect.flow-run.")
            states = self.states.setdefault(run_id, [])
            if all(known["id"] != state["id"] for known in states):
                states.append(state)
                states.sort(key=lambda one: str(one["timestamp"]))
            self._enter(run, states[-1])

    def _enter(self, run: Record, state: Record) -> None:
        run.update(state=state, state_id=state["id"], state_type=state["type"], state_name=state["name"])

    # Flows and flow runs

    def create_flow(self, given: Record) -> tuple[int, Any]:
        for flow in self.flows.values():
            if flow["name"] == given["name"]:
                return 200, flow
        flow = {**_new(), "tags": [], "labels": {}, **given}
        self.flows[flow["id"]] = flow
        return 201, flow

    def create_flow_run(self, given: Record) -> tuple[int, Any]:
        defaults: Record = {"parameters": {}, "tags": [], "labels": {}, "context": {}, "empirical_policy": {}}
        run = {**_new(), **defaults, "run_count": 0, "total_run_time": 0.0, "auto_scheduled": False, **given}
        run["name"] = given.get("name") or f"run-{next(self._numbers)}"
        state = run.pop("state", None) or {"type": "PENDING", "name": "Pending"}
        self.flow_runs[run["id"]] = run
        self._set_flow_state(run, state)
        return 201, run

    def set_flow_run_state(self, given: Record, run_id: str) -> tuple[int, Any]:
        run = _found(self.flow_runs, run_id)
        proposed, current = given["state"], run["state"]
        if current["type"] in _FINAL and not given.get("force"):
            raise Missing(f"a flow run that leaves its final state {current['name']} for {proposed['name']}")
        if proposed["type"] == "RUNNING" and (wait := _seconds_until(current)) > 0:
            details = {"type": "wait_details", "delay_seconds": int(wait) + 1, "reason": "It is scheduled for later"}
            return 201, {"state": None, "status": "WAIT", "details": details}
        policy, change = run["empirical_policy"], (current["type"], proposed["type"])
        if change == ("RUNNING", "FAILED") and run["run_count"] <= (policy.get("retries") or 0):
            when = datetime.now(UTC) + timedelta(seconds=policy.get("retry_delay") or 0)
            retry = {
                "type": "SCHEDULED",
                "name": "AwaitingRetry",
                "message": proposed.get("message"),
                "data": proposed.get("data"),
                "state_details": {"scheduled_time": when.isoformat()},
            }
            details = {"type": "reject_details", "reason": "Retrying"}
            return 201, {"state": self._set_flow_state(run, retry), "status": "REJECT", "details": details}
        state = self._set_flow_state(run, proposed)
        return 201, {"state": state, "status": "ACCEPT", "details": {"type": "accept_details"}}

    def _set_flow_state(self, run: Record, given: Record) -> Record:
        if given["type"] in _UNKNOWN_STATES:
            raise Missing(f"the state {given['name'] if given.get('name') else given['type']} of a flow run")
        before = run.get("state")
        details = {**(given.get("state_details") or {}), "flow_run_id": run["id"]}
        name = given.get("name") or given["type"].capitalize()
        state = _new_state({**given, "name": name, "state_details": details})
        now = state["timestamp"]
        if before is not None and before["type"] == "RUNNING":
            run["total_run_time"] += _seconds(now) - _seconds(before["timestamp"])
        if state["type"] == "RUNNING":
            run["run_count"] += 1
            run.setdefault("start_time", now)
        run["end_time"] = now if state["type"] in _FINAL else None
        self.states.setdefault(run["id"], []).append(state)
        self._enter(run, state)
        if run.get("parent_task_run_id") in self.task_runs:  # the task that stands for a subflow has its states
            child = {**details, "child_flow_run_id": run["id"], "task_run_id": run["parent_task_run_id"]}
            self.set_task_run_state({"state": {**state, "state_details": child}}, run["parent_task_run_id"])
        return state

    def update_flow_run(self, given: Record, run_id: str) -> tuple[int, Any]:
        _found(self.flow_runs, run_id).update(given)
        return 204, None

    def read_flow(self, _: Record, flow_id: str) -> tuple[int, Any]:
        return 200, _found(self.flows, flow_id)

    def read_flow_by_name(self, _: Record, name: str) -> tuple[int, Any]:
        for flow in self.flows.values():
            if flow["name"] == name:
                return 200, flow
        raise Absent(name)

    def read_flow_run(self, _: Record, run_id: str) -> tuple[int, Any]:
        return 200, _found(self.flow_runs, run_id)

    def read_task_run(self, _: Record, run_id: str) -> tuple[int, Any]:
        return 200, _found(self.task_runs, run_id)

    def create_task_run(self, given: Record) -> tuple[int, Any]:
        run = {
            **_new(given.get("id")),
            "run_count": 0,
            **{name: value for name, value in given.items() if name != "id"},
        }
        state = run.pop("state", None) or {"type": "PENDING", "name": "Pending"}
        run = {**self.task_runs.get(run["id"], {}), **run}
        self.task_runs[run["id"]] = run
        if not self.states.get(run["id"]):
            self.states[run["id"]] = [_new_state(state)]
        self._enter(run, self.states[run["id"]][-1])
        return 201, run

    def set_task_run_state(self, given: Record, run_id: str) -> tuple[int, Any]:
        run, states = _found(self.task_runs, run_id), self.states[run_id]
        states.append(_new_state(given["state"]))
        self._enter(run, states[-1])
        return 201, {"state": states[-1], "status": "ACCEPT", "details": {"type": "accept_details"}}

    def read_states(self, query: Record) -> tuple[int, Any]:
        return 200, self.states.get(str(query.get("flow_run_id") or query.get("task_run_id")), [])

    # Filters

    def filter_flows(self, given: Record) -> tuple[int, Any]:
        return 200, _chosen(self.flows.values(), given, "flows")

    def filter_flow_runs(self, given: Record) -> tuple[int, Any]:
        return 200, _chosen(self.flow_runs.values(), given, "flow_runs")

    def filter_task_runs(self, given: Record) -> tuple[int, Any]:
        flow_runs = given.pop("flow_runs", None)
        found = _chosen(self.task_runs.values(), given, "task_runs")
        if flow_runs is not None:
            chosen = {run["id"] for run in _chosen(self.flow_runs.values(), {"flow_runs": flow_runs}, "flow_runs")}
            found = [run for run in found if run.get("flow_run_id") in chosen]
        return 200, found

    def filter_artifacts(self, given: Record) -> tuple[int, Any]:
        return 200, _chosen(self.artifacts, given, "artifacts")

    # The rest

    def create_artifact(self, given: Record) -> tuple[int, Any]:
        artifact = {**_new(), **given}
        self.artifacts.append(artifact)
        return 201, artifact

    def receive_events(self, given: Any) -> tuple[int, Any]:
        for event in given:
            self.receive(event)
        return 204, None


def _new(id_: str | None = None) -> Record:
    now = _now()
    return {"id": id_ or str(uuid4()), "created": now, "updated": now}


def _new_state(given: Record) -> Record:
    return {"message": None, "data": None, **given, "id": str(uuid4()), "timestamp": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _seconds_until(state: Record) -> float:
    """Return the seconds until a scheduled state's time; 0 or less if it has come, or the state is another."""
    when = (state.get("state_details") or {}).get("scheduled_time")
    if state["type"] != "SCHEDULED" or when is None:
        return 0.0
    return _seconds(when) - datetime.now(UTC).timestamp()


def _found(objects: Mapping[str, Record], id_: str) -> Record:
    if id_ not in objects:
        raise Absent(id_)
    return objects[id_]


#: A condition of a filter, by its path in the JSON: whether an object meets it.
_CONDITIONS: dict[str, Callable[[Record, Any], bool]] = {
    "id.any_": lambda one, ids: one["id"] in ids,
    "id.not_any_": lambda one, ids: one["id"] not in ids,
    "name.any_": lambda one, names: one["name"] in names,
    "name.like_": lambda one, part: part.lower() in one["name"].lower(),
    "key.any_": lambda one, keys: one.get("key") in keys,
    "type.any_": lambda one, types: one.get("type") in types,
    "flow_id.any_": lambda one, ids: one.get("flow_id") in ids,
    "flow_run_id.any_": lambda one, ids: one.get("flow_run_id") in ids,
    "flow_run_id.is_null_": lambda one, is_null: (one.get("flow_run_id") is None) == is_null,
    "task_run_id.any_": lambda one, ids: one.get("task_run_id") in ids,
    "parent_task_run_id.any_": lambda one, ids: one.get("parent_task_run_id") in ids,
    "subflow_runs.exists_": lambda one, exists: (one.get("parent_task_run_id") is not None) == exists,
    "tags.all_": lambda one, tags: set(tags) <= set(one.get("tags") or ()),
    "tags.any_": lambda one, tags: bool(set(tags) & set(one.get("tags") or ())),
    "state.type.any_": lambda one, types: one.get("state_type") in types,
    "state.type.not_any_": lambda one, types: one.get("state_type") not in types,
    "state.name.any_": lambda one, names: one.get("state_name") in names,
    "state.name.not_any_": lambda one, names: one.get("state_name") not in names,
}
#: How the results of a filter may be sorted.
_ORDERS: dict[str, tuple[Callable[[Record], Any], bool]] = {
    "ID_DESC": (lambda one: one["id"], True),
    "NAME_ASC": (lambda one: one["name"], False),
    "NAME_DESC": (lambda one: one["name"], True),
    "START_TIME_ASC": (lambda one: one.get("start_time") or "", False),
    "START_TIME_DESC": (lambda one: one.get("start_time") or "", True),
    "EXPECTED_START_TIME_ASC": (lambda one: one["created"], False),
    "EXPECTED_START_TIME_DESC": (lambda one: one["created"], True),
    "END_TIME_DESC": (lambda one: one.get("end_time") or "", True),
    "CREATED_DESC": (lambda one: one["created"], True),
    "UPDATED_DESC": (lambda one: one["updated"], True),
}


def _chosen(objects: Any, given: Record, name: str) -> list[Record]:
    """Return the objects that a filter of Prefect's API chooses.

    Raises:
        Missing: it has a condition or an order that is not known.
    """
    known = {name, "sort", "limit", "offset"}
    unknown = [part for part, value in given.items() if part not in known and value]
    conditions = list(_conditions(given.get(name) or {}))
    unknown += [path for path, _ in conditions if path not in _CONDITIONS]
    sort = given.get("sort")
    if sort and sort not in _ORDERS:
        unknown.append(f"sort={sort}")
    if unknown:
        raise Missing(f"a filter of {name} by {', '.join(unknown)}")
    found = [one for one in objects if all(_CONDITIONS[path](one, value) for path, value in conditions)]
    if sort:
        key, reverse = _ORDERS[sort]
        found.sort(key=key, reverse=reverse)
    start = given.get("offset") or 0
    return found[start : start + given["limit"]] if given.get("limit") else found[start:]


def _conditions(given: Record, path: str = "") -> list[tuple[str, Any]]:
    """Return the conditions of a filter, each with its path; an `and_` of no others is none."""
    found: list[tuple[str, Any]] = []
    for name, value in given.items():
        if value is None or name == "operator":
            continue
        if isinstance(value, dict):
            found += _conditions(value, f"{path}{name}.")
        else:
            found.append((f"{path}{name}", value))
    return found


_ID = "([0-9a-f-]{36})"
_ROUTES: list[tuple[str, str, Callable[..., tuple[int, Any]]]] = [
    ("GET", "/health", lambda *_: (200, True)),
    ("GET", "/admin/version", lambda *_: (200, version("prefect"))),
    ("GET", "/admin/storage", lambda *_: (200, {})),
    ("GET", "/csrf-token", lambda *_: (422, {"detail": "CSRF protection is disabled."})),
    ("POST", "/flows/", PrefectInMemory.create_flow),
    ("POST", "/flows/filter", PrefectInMemory.filter_flows),
    ("GET", f"/flows/{_ID}", PrefectInMemory.read_flow),
    ("GET", "/flows/name/(.+)", PrefectInMemory.read_flow_by_name),
    ("POST", "/flow_runs/", PrefectInMemory.create_flow_run),
    ("POST", "/flow_runs/filter", PrefectInMemory.filter_flow_runs),
    ("GET", f"/flow_runs/{_ID}", PrefectInMemory.read_flow_run),
    ("PATCH", f"/flow_runs/{_ID}", PrefectInMemory.update_flow_run),
    ("POST", f"/flow_runs/{_ID}/set_state", PrefectInMemory.set_flow_run_state),
    ("GET", "/flow_run_states/", PrefectInMemory.read_states),
    ("POST", "/task_runs/", PrefectInMemory.create_task_run),
    ("POST", "/task_runs/filter", PrefectInMemory.filter_task_runs),
    ("GET", f"/task_runs/{_ID}", PrefectInMemory.read_task_run),
    ("POST", f"/task_runs/{_ID}/set_state", PrefectInMemory.set_task_run_state),
    ("GET", "/task_run_states/", PrefectInMemory.read_states),
    ("POST", "/artifacts/", PrefectInMemory.create_artifact),
    ("POST", "/artifacts/filter", PrefectInMemory.filter_artifacts),
    ("POST", "/events", PrefectInMemory.receive_events),
    # As a server without any limit answers.
    ("POST", "/v2/concurrency_limits/increment-with-lease", lambda *_: (200, {"lease_id": str(uuid4()), "limits": []})),
    ("POST", "/v2/concurrency_limits/increment", lambda *_: (200, [])),
    ("POST", "/v2/concurrency_limits/decrement-with-lease", lambda *_: (204, None)),
]
