"""Structured answers from a language model that is slow, throttles, writes broken JSON, and costs money.

    python examples/language_model.py

The pace follows what the service accepts. A second request goes beside one that is slow. An answer that is no valid
JSON is asked for again. A budget in dollars bounds what the large model costs, and a smaller one stands in for it.
"""

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from resilient_tasks import (
    AdaptiveRateLimit,
    Degraded,
    Failed,
    Hedge,
    Kind,
    Ok,
    Policy,
    Retry,
    explain,
    register_kind,
    resilient,
)
from resilient_tasks.core.events import Event, RetryScheduled, bus
from resilient_tasks.state.states import states
from resilient_tasks.testing import FaultyServer, Request, Response, Slow, Status

LARGE, SMALL = "large-1", "small-1"
DOLLARS = {LARGE: (3e-6, 15e-6), SMALL: (0.1e-6, 0.4e-6)}  # for a token of the prompt, and of the answer
tally: Counter[str] = Counter()


class Delay(BaseModel):
    """What the model extracts from a pilot's remark."""

    cause: Literal["weather", "crew", "aircraft", "airport"]
    minutes: int = Field(ge=0, le=2000)


class BudgetSpent(Exception):
    """The budget of these calls is spent."""


register_kind(BudgetSpent, Kind.REJECTED)  # no attempt follows; a fallback stands in


@dataclass(frozen=True, eq=False)
class CostBudget(Policy):
    """Refuse calls once `dollars` are booked under `name`, across all processes that share a store.

    What an answer costs is known when it has come, so calls that are under way by then may exceed the budget.
    """

    name: str
    dollars: float

    def spent(self) -> float:
        return float(states().get(f"cost/{self.name}") or 0)

    def book(self, dollars: float) -> None:
        def add(state: bytes | None, _now: float) -> tuple[bytes, float]:
            total = float(state or 0) + dollars
            return str(total).encode(), total

        states().update(f"cost/{self.name}", add, ttl=86_400)

    def longest(self, inner: Any) -> Any:
        return inner  # it takes no time

    async def around(self, call: Any, proceed: Callable[..., Any]) -> Any:
        if (spent := self.spent()) >= self.dollars:
            return Failed(BudgetSpent(f"{self.name}: {spent:.4f} of {self.dollars} dollars are spent"))
        return await proceed(call)

    def describe(self) -> str:
        return f"cost budget: {self.name}, {self.dollars} dollars"


budget = CostBudget("delays, this run", dollars=0.015)


async def chat(client: httpx.AsyncClient, model: str, remark: str) -> Delay:
    """Ask a model, book the cost, and check the answer."""
    prompt = f"Answer in JSON with cause and minutes. The remark: {remark}"
    asked = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    tally[f"requests to {model}"] += 1
    response = await client.post("/v1/chat/completions", json=asked)
    tally["throttled (429)"] += response.status_code == 429
    answer = response.raise_for_status().json()
    used = answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]
    tally["tokens"] += sum(used)
    budget.book(sum(tokens * price for tokens, price in zip(used, DOLLARS[model], strict=True)))
    return Delay.model_validate_json(answer["choices"][0]["message"]["content"])


AGAIN = (Kind.TRANSIENT, Kind.THROTTLED, Kind.TIMEOUT, Kind.MALFORMED)  # the next answer may be valid JSON


@resilient(retry=Retry(on=AGAIN, wait=0.2), timeout=5, idempotent=True)
async def ask_small(client: httpx.AsyncClient, remark: str) -> Delay:
    return await chat(client, SMALL, remark)


@resilient(
    fallback=ask_small,
    deadline=20,
    retry=Retry(on=AGAIN, attempts=4, wait=0.2),
    hedge=Hedge(after=0.8),
    policies=[budget],
    rate_limit=AdaptiveRateLimit(LARGE, start=20, per=1),
    timeout=5,
    idempotent=True,
)
async def ask(client: httpx.AsyncClient, remark: str) -> Delay:
    return await chat(client, LARGE, remark)


async def read_all(url: str, remarks: list[str], at_once: int = 4) -> list[Any]:
    """Return the outcome of each remark. Few run at once, so that costs are booked before the next calls begin."""
    places = asyncio.Semaphore(at_once)

    async def one(remark: str) -> Any:
        async with places:
            return await ask.outcome(client, remark)

    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        return await asyncio.gather(*map(one, remarks))


def count(event: Event) -> None:
    tally[event.name] += 1
    tally["malformed"] += isinstance(event, RetryScheduled) and event.kind == "malformed"


def show(outcomes: list[Any]) -> None:
    """Print what the run did, and what it cost."""
    kinds = Counter(type(outcome) for outcome in outcomes)
    rows = {
        "prompts": len(outcomes),
        "answered by the large model": kinds[Ok],
        "by the small one instead": kinds[Degraded],
        "not answered": kinds[Failed],
        f"requests to {LARGE}": tally[f"requests to {LARGE}"],
        f"requests to {SMALL}": tally[f"requests to {SMALL}"],
        "throttled (429)": tally["throttled (429)"],
        "hedges won": tally["hedge.won"],
        "broken JSON, asked again": tally["malformed"],
        "tokens": tally["tokens"],
        "dollars": f"{budget.spent():.4f} (the large model may use {budget.dollars})",
    }
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    Console(width=90).print(table)


# From here on: a model on this machine, so that the example runs as it is. Yours has a URL and a key.


def moods(request: Request) -> Slow | Status | None:
    """Throttle each tenth request, and delay each ninth by three seconds if it is for the large model."""
    if request.number % 10 == 0:
        return Status(429, retry_after=1)
    return Slow(3) if request.number % 9 == 0 and request.json()["model"] == LARGE else None


def complete(request: Request) -> Response:
    """Answer as a model would; each seventh answer of the large one breaks off in the middle."""
    time.sleep(0.1)
    asked = request.json()
    prompt = asked["messages"][-1]["content"]
    found = re.search(r"(\d+) minutes, (\w+)", prompt)
    answer = json.dumps({"cause": found[2], "minutes": int(found[1])}) if found else "{}"
    if request.number % 7 == 0 and asked["model"] == LARGE:
        answer = answer[: len(answer) // 2]
    usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 30}
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    return Response(json.dumps({"model": asked["model"], "choices": [choice], "usage": usage}))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    causes = ("weather", "crew", "aircraft", "airport")
    remarks = [f"flight {number}: {number % 50} minutes, {causes[number % 4]}" for number in range(40)]
    print(explain(ask))
    bus.subscribe(count)
    with FaultyServer(complete, moods) as server:
        outcomes = asyncio.run(read_all(server.url, remarks))  # your own URL here, and headers with your key
        show(outcomes)
        print(f"the server counted {len(server.requests)} requests")
