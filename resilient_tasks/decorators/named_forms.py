"""How the policies of a TOML file are written: the keys of each table, and what only code can give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, cast

#: The annotations of arguments that are a text.
_TEXTS = frozenset({"str", "str | None", "Secret", "Secret | None", "keys.Name"})


class Form(NamedTuple):
    """How a table is written for one class.

    Attributes:
        place: of the class, as `module:class` below this package.
        short: the argument that a bare value stands for; empty: there is no short form.
        by_code: arguments that only code can give.
        tables: arguments that are tables themselves.
        instead: keys that are tables of other classes in place of this one, such as `last_good` of a fallback.
        secrets: arguments that hold secrets, and where else to put them.
        takes_name: whether the policy's own name is the default of `name`.
        more: further keys, which are not arguments of the class.
    """

    place: str
    short: str = ""
    by_code: tuple[str, ...] = ()
    tables: Mapping[str, Form] = {}
    instead: Mapping[str, Form] = {}
    secrets: Mapping[str, str] = {}
    takes_name: bool = False
    more: tuple[str, ...] = ()

    @property
    def made(self) -> Callable[..., Any]:
        """The class."""
        room, _, name = self.place.partition(":")
        made: Callable[..., Any] = getattr(import_module(f"resilient_tasks.{room}"), name)
        return made

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments that a table may give."""
        return (*(part.name for part in self._parts if part.name not in self.by_code), *self.more)

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments without a default; without `name`, if the policy's own name is one."""
        given = {*self.by_code, *(("name",) if self.takes_name else ())}
        return tuple(
            part.name
            for part in self._parts
            if part.default is dataclasses.MISSING
            and part.default_factory is dataclasses.MISSING
            and part.name not in given
        )

    def is_text(self, key: str) -> bool:
        """Whether an argument is a text or a secret, also if it looks like a number or a list."""
        kind = next((str(part.type) for part in self._parts if part.name == key), "")
        return kind in _TEXTS

    @property
    def _parts(self) -> list[dataclasses.Field[Any]]:
        parts = dataclasses.fields(cast("Any", self.made))
        return [part for part in parts if part.init and part.name[0] != "_" and part.name != "through"]

    def inner(self, key: str) -> Form | None:
        """Return the form of a key whose value is a table itself; None for any other key."""
        return self.tables.get(key) or self.instead.get(key) or (CHANNELS.get(key) if key in self.more else None)


#: The conditions of a `Route`, which are written into the table of its channel.
ROUTE = ("severity", "kind", "policy", "flow", "tags", "operation")
#: The channels, by their key in the table of `notify`.
CHANNELS: Mapping[str, Form] = {
    "slack": Form(
        "alerts.channels.slack:Slack",
        "channel",
        secrets={
            "webhook": "set SLACK_WEBHOOK_URL in the environment",
            "token": "set SLACK_BOT_TOKEN in the environment",
        },
        more=ROUTE,
    ),
    "email": Form(
        "alerts.channels.email:Email",
        "to",
        by_code=("credentials",),
        secrets={"password": "put it into the variable SMTP_PASSWORD"},
        more=ROUTE,
    ),
    "webhook": Form(
        "alerts.channels.webhook:Webhook",
        "url",
        secrets=dict.fromkeys(("secret", "headers"), "write notify=Webhook(...) in the decorator"),
        more=ROUTE,
    ),
    "console": Form("alerts.channels.console:Console", more=ROUTE),
}
_LAST_GOOD = Form("policies.last_good:LastGood", "max_age", by_code=("key", "options"))
_FALLBACK = Form("policies.fallback:Fallback", by_code=("use",), instead={"last_good": _LAST_GOOD})

#: The keywords that a table may have.
FORMS: Mapping[str, Form] = {
    "retry": Form(
        "policies.retry.policy:Retry",
        "attempts",
        by_code=("on_result", "stop"),
        tables={"budget": Form("policies.retry.policy:RetryBudget", "name")},
    ),
    "deadline": Form("policies.deadline:Deadline", "seconds"),
    "timeout": Form("policies.timeout:Timeout", "seconds"),
    "breaker": Form("policies.breaker.policy:CircuitBreaker", "name", takes_name=True),
    "rate_limit": Form(
        "policies.rate_limit.policy:RateLimit",
        takes_name=True,
        instead={"adaptive": Form("policies.adaptive_rate_limit.policy:AdaptiveRateLimit", takes_name=True)},
    ),
    "bulkhead": Form("policies.bulkhead.policy:Bulkhead", takes_name=True),
    "hedge": Form("policies.hedge:Hedge", "after"),
    "fallback": _FALLBACK._replace(instead={"last_good": _LAST_GOOD._replace(tables={"otherwise": _FALLBACK})}),
    "single_flight": Form("policies.single_flight.policy:SingleFlight", by_code=("key",)),
    "notify": Form("alerts.policy:Notify", by_code=("channels",), more=tuple(CHANNELS)),
}
#: Keywords of the decorator that a table cannot have, and why.
NOT_HERE = {
    "validate": "a schema is code: write validate=... in the decorator, beside policy=",
    "policies": "write each policy under its own keyword, such as retry or timeout",
    "policy": "a policy cannot refer to another one: write its keywords here",
}
