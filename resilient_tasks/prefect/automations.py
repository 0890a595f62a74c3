"""Automations on the Prefect server, for runs whose process was killed and can report nothing itself.

One marks a flow run Crashed once its heartbeats stop: Prefect's flow runs send them as long as their process lives.
The other sends alerts about crashed runs through a block on the server.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import BlockDocument, StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, get_current_settings

#: The shortest wait that Prefect accepts, in seconds.
LEAST = 10.0
#: Missed heartbeats after which a run counts as crashed.
_HEARTBEATS = 3

_RUN = "prefect.flow-run"
_HEARTBEAT = f"{_RUN}.heartbeat"
#: No heartbeat follows these. Events are named after states: `Degraded` is this library's. After a custom state with
#: another name the automation fires, and the server refuses, as it lets no ended run become Crashed.
_ENDS = (
    *("Completed", "Degraded", "Failed", "TimedOut", "Crashed", "Cancelled"),
    *("Paused", "Suspended", "AwaitingRetry"),
)

Done = Literal["created", "updated", "removed", "would be created", "would be updated", "would be removed"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The automations to install on the server.

    Attributes:
        name: prefix of the names of its automations.
        block: the block that sends the alerts, such as `"slack-webhook/ops"`; empty: no alerts.
        zombie_after: seconds without a heartbeat after which a run is marked Crashed.
        cooldown: seconds in which further crashes of the same flow send no alert.
    """

    name: str
    block: str
    zombie_after: float
    cooldown: float = 0.0

    def __post_init__(self) -> None:
        if not self.zombie_after >= LEAST:
            raise ValueError(f"Prefect waits for {LEAST:g} s at least, not for {self.zombie_after:g} s.")
        if not self.cooldown >= 0:
            raise ValueError(f"A cool-down is 0 s or longer, not {self.cooldown:g} s.")

    @property
    def marking(self) -> str:
        """Name of the automation that marks runs."""
        return f"{self.name}: no sign of life"

    @property
    def alerting(self) -> str:
        """Name of the automation that sends alerts about them."""
        return f"{self.name}: a flow run crashed"


@dataclass(frozen=True, slots=True)
class Step:
    """A change on the server, made or planned.

    Attributes:
        done: the kind of change.
        name: the automation's name.
        purpose: what the automation does.
        automation: the automation as Prefect's API takes it; empty if it was removed.
        paused: whether it is paused; an update keeps it so.
    """

    done: Done
    name: str
    purpose: str
    automation: dict[str, Any]
    paused: bool = False


def heartbeats() -> int | None:
    """Return the seconds between heartbeats of flow runs that this process starts; None if they send none."""
    return get_current_settings().flows.heartbeat_frequency


def usual_patience() -> float:
    """Return the default of `zombie_after` in seconds, from this process's heartbeat interval."""
    frequency = heartbeats()
    return float(_HEARTBEATS * (frequency or 30))


def install(recipe: Recipe, *, dry_run: bool = False) -> list[Step]:
    """Install the automations of `recipe` on the server, or update those that exist.

    Raises:
        ValueError: no server is configured, or the block does not exist or cannot send alerts.
        ConnectionError: the server does not answer or refuses.
    """
    with _server() as client:
        # All checks run before anything is changed.
        steps = [(marking(recipe), f"marks a flow run Crashed after {recipe.zombie_after:g} s without a sign of life")]
        if recipe.block:
            often = f", at most one in {recipe.cooldown:g} s for each flow" if recipe.cooldown else ""
            steps.append((alerting(recipe, _block(client, recipe.block)), f"sends alerts to {recipe.block}{often}"))
        return [_put(client, automation, purpose, dry_run=dry_run) for automation, purpose in steps]


def uninstall(name: str, *, dry_run: bool = False) -> list[Step]:
    """Remove the automations of the recipe `name` from the server.

    Raises:
        ValueError: no server is configured.
        ConnectionError: the server does not answer or refuses.
    """
    recipe = Recipe(name, "", LEAST)
    done: Done = "would be removed" if dry_run else "removed"
    with _server() as client:
        found = [each for of in (recipe.marking, recipe.alerting) for each in client.read_automations_by_name(of)]
        for automation in found if not dry_run else ():
            client.delete_automation(automation.id)
    return [Step(done, automation.name, "", {}) for automation in found]


def marking(recipe: Recipe) -> AutomationCore:
    """Return the automation that marks runs Crashed."""
    return AutomationCore(
        name=recipe.marking,
        description="Marks a flow run Crashed whose heartbeats stopped: its process was killed, or its machine died.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match=ResourceSpecification({"prefect.resource.id": f"{_RUN}.*"}),
            for_each={"prefect.resource.id"},
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *(f"{_RUN}.{state}" for state in _ENDS)},
            threshold=1,
            within=dt.timedelta(seconds=recipe.zombie_after),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message=f"No sign of life for {recipe.zombie_after:g} s: the process of this flow run was killed, or"
                f" its machine died (marked by the automation {recipe.marking!r})",
                force=False,
            )
        ],
    )


def alerting(recipe: Recipe, block: BlockDocument) -> AutomationCore:
    """Return the automation that sends alerts about crashed runs by `block`."""
    each = "related:flow:prefect.resource.id" if recipe.cooldown else "prefect.resource.id"
    return AutomationCore(
        name=recipe.alerting,
        description="Sends an alert about each flow run that crashed, also if its process could not send one.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match=ResourceSpecification({"prefect.resource.id": f"{_RUN}.*"}),
            for_each={each},
            expect={f"{_RUN}.Crashed"},
            threshold=1,
            within=dt.timedelta(seconds=recipe.cooldown),
        ),
        actions=[_message(recipe, block)],
    )


_SUBJECT = "{{ flow.name }} crashed: flow run {{ flow_run.name }}"
_BODY = (
    _SUBJECT
    + """
{{ flow_run.state.message }}
What depends on it does not run, and what it had begun may be half done.
{{ %s }}"""
)
_MORE = "\nMore crashes of this flow within {seconds:g} s send no alert."


def _message(recipe: Recipe, block: BlockDocument) -> SendNotification | CallWebhook:
    body = _BODY % _link() + (_MORE.format(seconds=recipe.cooldown) if recipe.cooldown else "")
    if _can_notify(block):
        return SendNotification(block_document_id=block.id, subject=_SUBJECT, body=body)
    fields = {
        "flow": "flow.name",
        "flow_run": "flow_run.name",
        "flow_run_id": "flow_run.id",
        "state": "flow_run.state.name",
        "message": "flow_run.state.message",
        "url": _link(),
    }
    # Slack's webhooks, and similar ones, take a "text" and ignore the rest.
    text = "{% set text %}" + body + "{% endset %}"
    rest = "".join(f', "{name}": {{{{ ({value}) | string | tojson }}}}' for name, value in fields.items())
    return CallWebhook(block_document_id=block.id, payload=text + '{"text": {{ text | tojson }}' + rest + "}")


def _link() -> str:
    """Return the template expression of the run's URL: in the UI configured here, else as the server knows it."""
    ui = PREFECT_UI_URL.value()
    return f"'{ui.rstrip('/')}/runs/flow-run/' ~ flow_run.id" if ui else "(flow_run | ui_url) or ''"


def _can_notify(block: BlockDocument) -> bool:
    return block.block_schema is not None and "notify" in block.block_schema.capabilities


def _is_webhook(block: BlockDocument) -> bool:
    return block.block_type is not None and block.block_type.slug == "webhook"


def _address_of(block: BlockDocument) -> str:
    return f"{block.block_type.slug if block.block_type else '?'}/{block.name}"


def _block(client: SyncPrefectClient, address: str) -> BlockDocument:
    kind, _, name = address.partition("/")
    if not kind or not name:
        raise ValueError(f"A block is named by its type and its name, such as slack-webhook/ops, not {address!r}.")
    try:
        block = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        raise ValueError(f"There is no block {address} on {PREFECT_API_URL.value()}. {_usable(client)}") from None
    if not _can_notify(block) and not _is_webhook(block):
        raise ValueError(f"The block {address} cannot send alerts. {_usable(client)}")
    return block


def _usable(client: SyncPrefectClient) -> str:
    blocks = client.read_block_documents(include_secrets=False)
    names = sorted(_address_of(block) for block in blocks if block.name and (_can_notify(block) or _is_webhook(block)))
    return f"There: {', '.join(names)}." if names else "It has no block that can send alerts."


def _put(client: SyncPrefectClient, automation: AutomationCore, purpose: str, *, dry_run: bool) -> Step:
    existing = client.read_automations_by_name(automation.name)
    definition = automation.model_dump(mode="json")
    if not existing:
        if not dry_run:
            client.create_automation(automation)
        return Step("would be created" if dry_run else "created", automation.name, purpose, definition)
    paused = not existing[0].enabled
    if not dry_run:
        _update(client, existing[0].id, automation.model_copy(update={"enabled": not paused}))
    return Step("would be updated" if dry_run else "updated", automation.name, purpose, definition, paused)


def _update(client: SyncPrefectClient, automation_id: UUID, automation: AutomationCore) -> None:
    # As Prefect's own `Automation.update` does: the server rejects the field `owner_resource`, even if it is None.
    client.update_automation(automation_id, AutomationCore(**automation.model_dump(exclude={"owner_resource"})))


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    """Yield a client of the configured server; never let Prefect start one."""
    if not PREFECT_API_URL.value():
        raise ValueError("No Prefect server is configured: set PREFECT_API_URL, such as http://127.0.0.1:4200/api.")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise ConnectionError(f"{PREFECT_API_URL.value()} refuses: {error}") from error
    except (httpx.HTTPError, RuntimeError) as error:
        raise ConnectionError(f"{PREFECT_API_URL.value()} does not answer: {error}") from error
