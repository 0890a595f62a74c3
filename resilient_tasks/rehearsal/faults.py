"""The faults of a rehearsal: frozen values with a short name, by which a run can be repeated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Where: TypeAlias = Literal["before", "after", "data", "alerts"]

#: The kinds of each family, as `where:kind`.
FAMILIES: dict[str, tuple[str, ...]] = {
    "api": ("before:refused", "before:503", "before:429", "before:500", "before:bug", "after:reset", "after:503"),
    "timeouts": ("before:timeout", "before:slow", "after:slow"),
    "malformed": tuple(
        f"data:{kind}" for kind in ("null", "type", "range", "column", "duplicate", "truncated", "empty")
    ),
    "crash": ("before:crash", "after:crash"),
    "alerts": ("alerts:down",),
}
#: The family of each `where:kind`.
FAMILY_OF: dict[str, str] = {form: family for family, forms in FAMILIES.items() for form in forms}
#: The task of a fault that concerns the whole run.
EVERY_TASK = "*"
_ALWAYS = "always"


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of one call of a task.

    Attributes:
        task: the task's operation; `*` for a fault of the whole run.
        call: which call of the task, from 1, in the order of the run without faults.
        where: before the function, after it, in the data that it returns, or in the alerts.
        kind: what happens, see `FAMILIES`.
        always: in every attempt of the call, not in the first alone.
    """

    task: str
    call: int
    where: Where
    kind: str
    always: bool = False

    @property
    def form(self) -> str:
        """What happens and where, as in `FAMILIES`."""
        return f"{self.where}:{self.kind}"

    @property
    def family(self) -> str:
        """The family that its kind belongs to."""
        return FAMILY_OF[self.form]

    @property
    def token(self) -> str:
        """A text from which `fault` makes it again: `fetch:1:after:503`."""
        return f"{self.task}:{self.call}:{self.form}" + (f":{_ALWAYS}" if self.always else "")

    def strikes(self, attempt: int) -> bool:
        """Whether it is injected into the attempt with this number."""
        return self.always or attempt == 1


#: The faults of one run, sorted; none for the run without faults.
Plan: TypeAlias = tuple[Fault, ...]

_TOKEN = re.compile(rf"(?P<task>.+):(?P<call>\d+):(?P<where>\w+):(?P<kind>\w+?)(?P<always>:{_ALWAYS})?")


def fault(token: str) -> Fault:
    """Return the fault with this token.

    Raises:
        ValueError: there is none.
    """
    found = _TOKEN.fullmatch(token.strip())
    if found is None or f"{found['where']}:{found['kind']}" not in FAMILY_OF:
        msg = f"{token!r} names no fault: write TASK:CALL:WHERE:KIND, such as fetch:1:after:503; {_forms()}"
        raise ValueError(msg)
    return Fault(found["task"], int(found["call"]), found["where"], found["kind"], found["always"] is not None)  # type: ignore[arg-type]  # one of the forms


def _forms() -> str:
    return f"WHERE:KIND is one of {', '.join(FAMILY_OF)}"


def plan_of(tokens: str) -> Plan:
    """Return the plan with these tokens, separated by commas.

    Raises:
        ValueError: one of them names no fault.
    """
    return plan(fault(token) for token in tokens.split(",") if token.strip())


def plan(faults: Iterable[Fault]) -> Plan:
    """Return the faults as a plan: sorted, each once."""
    return tuple(sorted(set(faults)))


def tokens_of(faults: Plan) -> str:
    """Return the tokens of a plan, from which `plan_of` makes it again."""
    return ",".join(each.token for each in faults)


def families(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of families, each once, in their order.

    Raises:
        ValueError: one of them is none, or there is none.
    """
    given = [*dict.fromkeys(name.strip() for name in names if name.strip())]
    if not given or not set(given) <= FAMILIES.keys():
        wrong = next((name for name in given if name not in FAMILIES), "")
        raise ValueError(f"{wrong!r} is no family of faults: choose from {', '.join(FAMILIES)}")
    return tuple(name for name in FAMILIES if name in given)
