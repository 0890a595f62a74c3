"""From a named table in a TOML file to the keywords of a decorator: `policy="flights-api"`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from resilient_tasks.core import policy_file
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.wording import joined
from resilient_tasks.decorators.named_failures import failures_named
from resilient_tasks.decorators.named_forms import CHANNELS, FORMS, NOT_HERE, ROUTE, Form
from resilient_tasks.redaction.text import redact

#: What only code can give, and what to do instead.
_CODE = "only code can give it: write {keyword}=... in the decorator, beside policy="
_SECRET = (
    "a secret does not belong into a file of the project: {instead}, or keep the policy in another file, which"
    f" {policy_file.CONFIG} names"
)


class Named(NamedTuple):
    """The keywords that a named policy stands for.

    Attributes:
        name: of the policy.
        place: where it is written: its table and file.
        variables: those of the environment that have changed it.
        options: the keywords of a decorator.
        slots: of the policies that it gives to a function.
    """

    name: str
    place: str
    variables: tuple[str, ...]
    options: Mapping[str, Any]
    slots: frozenset[str] = frozenset()


def keywords_of(name: object) -> Named:
    """Return the keywords that the policy `name` stands for.

    Raises:
        PolicyError: no file has such a policy; or its table, or a variable that changes it, is wrong. The message names
            the file, the table and the key.
    """
    if not isinstance(name, str) or not name.strip():
        what = f"policy= is the name of a policy in pyproject.toml or resilient_tasks.toml, not {name!r}"[:200]
        raise PolicyError(f'{what}: write policy="flights-api", and policies=[...] for policies that are objects')
    tables, table = policy_file.named(name)
    place = tables.place(name)
    changed, variables = _changed(name, tables, table)
    reader = _Reader(name, place, variables, may_hold_secrets=tables.path.name != "pyproject.toml")
    options = {key: reader.keyword(key, value) for key, value in changed.items()}
    return Named(name, place, variables, {key: value for key, value in options.items() if value is not None})


# The environment.


def _changed(
    name: str, tables: policy_file.Tables, table: policy_file.Table
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return a policy's table as the environment changes it, and the variables that did."""
    given = policy_file.overrides()
    if not given:
        return table, ()
    _warn_of_strangers(given, tables)
    changed: dict[str, Any] = copy.deepcopy(dict(table))
    used = []
    for one in given:
        if one.policy != policy_file.spelt(name):
            continue
        same = sorted(each for each in tables.policies if policy_file.spelt(each) == one.policy)
        if len(same) > 1:
            msg = f"{one.variable} in the environment may mean {joined(same)}, in {tables.path}: rename one of them"
            raise PolicyError(msg)
        if why := _why_unknown(one.keys):
            warnings.warn(f"{one.variable} in the environment sets nothing: {why}", stacklevel=2)
            continue
        _put(changed, one)
        used.append(one.variable)
    return changed, tuple(used)


def _warn_of_strangers(given: list[policy_file.Override], tables: policy_file.Tables) -> None:
    known = {policy_file.spelt(each): each for each in tables.policies}
    for one in given:
        if one.policy not in known:
            meant = policy_file.suggestion(one.policy, frozenset(known)).upper().replace("DID YOU MEAN", "did you mean")
            there = meant or f": there are {', '.join(sorted(known)).upper()}"
            msg = f"{one.variable} in the environment sets nothing, as {tables.path} has no such policy{there}"
            warnings.warn(msg, stacklevel=2)


def _why_unknown(keys: tuple[str, ...]) -> str:
    """Return why the environment cannot set the value with these keys; empty if it can."""
    if not keys:
        return "write __RETRY__ATTEMPTS, or another keyword and its argument, after the name"
    if keys == ("idempotent",):
        return ""
    form = FORMS.get(keys[0])
    if form is None:
        return f"a policy has no keyword {keys[0].upper()}{_meant(keys[0], (*FORMS, 'idempotent'))}"
    for before, key in pairwise(keys):
        inner = form.inner(key)
        if inner is not None:
            form = inner
        elif key in form.arguments:
            return "" if key == keys[-1] else f"{key.upper()} of {before.upper()} has no parts"
        else:
            return f"{before.upper()} has no {key.upper()}{_meant(key, (*form.arguments, *form.instead))}"
    return ""


def _meant(word: str, known: tuple[str, ...]) -> str:
    meant = policy_file.suggestion(word, known)
    *head, tail = meant.partition("did you mean ")
    return "".join((*head, tail.upper().replace(" OR ", " or "))) or f": there are {', '.join(known).upper()}"


def _put(table: dict[str, Any], one: policy_file.Override) -> None:
    """Set one value in a table. A short form on the way becomes the table that it stands for.

    Raises:
        PolicyError: on the way is a list of several channels, and the value can be that of any of them.
    """
    here, form = table, None
    for place, key in enumerate(one.keys[:-1]):
        form = FORMS.get(key) if place == 0 else form and form.inner(key)
        value = here.get(key)
        if form is not None and form is CHANNELS.get(key):
            value = _only(value, one, form)
        if not isinstance(value, dict):
            is_short = form is not None and form.short and value is not None and not isinstance(value, bool)
            value = {form.short: value} if form is not None and is_short else {}
        here[key] = value
        here = value
    last = one.keys[-1]
    is_text = form is not None and form.is_text(last) and not isinstance(one.value, str)
    here[last] = one.text.strip() if is_text else one.value


def _only(value: Any, one: policy_file.Override, form: Form) -> Any:
    """Return the channel that a variable changes; the value itself if it is no list of channels."""
    key, last = one.keys[-2:]
    if not isinstance(value, list) or (key == "email" and not all(isinstance(each, dict) for each in value)):
        return value
    if len(value) == 1:
        return value[0]
    whole = one.variable.rpartition("__")[0]
    instead = form.secrets.get(last, "")
    msg = (
        f"{one.variable} in the environment does not say which of the {len(value)} channels of {key} it changes:"
        f" {f'{instead}, for all of them, or ' if 'environment' in instead else ''}write the whole list into {whole}"
    )
    raise PolicyError(msg)


# The table.


class _Reader(NamedTuple):
    """Reads the table of one policy."""

    name: str
    place: str
    variables: tuple[str, ...]
    may_hold_secrets: bool

    def keyword(self, key: str, value: Any) -> Any:
        """Return the value of a decorator's keyword; None for a keyword that is switched off with `false`."""
        if key == "idempotent":
            if isinstance(value, bool):
                return value
            raise self.error(key, f"it is true or false, not {value!r}")
        if key in NOT_HERE:
            raise self.error(key, NOT_HERE[key])
        if key not in FORMS:
            known = (*FORMS, "idempotent")
            meant = policy_file.suggestion(key, known) or f": it takes {', '.join(known)}"
            dots = f'. A name with dots needs quotes: "{self.name}.{key}"' if isinstance(value, dict) else ""
            raise self.error("", f"a policy has no keyword {key!r}{meant}{dots}")
        if value is False:
            return None
        return self.notify(value) if key == "notify" else self.value((key,), FORMS[key], value)

    def value(self, keys: tuple[str, ...], form: Form, value: Any) -> Any:
        """Return the object that a table, or its short form, stands for."""
        table = self.as_table(keys, form, value)
        others = [key for key in table if key in form.instead]
        if others:
            if len(table) > 1:
                rest = joined(sorted(map(repr, table.keys() - {others[0]})))
                raise self.error(keys, f"it has {others[0]!r}, and {rest} beside it: put {rest} into it, or drop it")
            return self.value((*keys, others[0]), form.instead[others[0]], table[others[0]])
        arguments = {key: self.argument((*keys, key), form, key, inner) for key, inner in table.items()}
        if form.takes_name:
            arguments.setdefault("name", self.name)
        return self.made(keys, form, arguments)

    def as_table(self, keys: tuple[str, ...], form: Form, value: Any) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        if value is True and not form.required:
            return {}
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            raise self.error(keys, "it begins like a table or a list, but is neither TOML nor JSON")
        if value is True or not form.short:
            shown = ", ".join(f"{name} = ..." for name in (form.required or form.arguments)[:2])
            raise self.error(keys, f"it is a table, such as {{{shown}}}, not {_shown(value)}")
        return {form.short: value}

    def argument(self, keys: tuple[str, ...], form: Form, key: str, value: Any) -> Any:
        """Return the value of one argument."""
        if key in form.by_code:
            raise self.error(keys, _CODE.format(keyword=keys[0]))
        if key not in form.arguments:
            meant = policy_file.suggestion(key, form.arguments)
            there = joined([*form.arguments, *form.instead])
            raise self.error(keys[:-1], f"it has no {key!r}{meant or ':'} {'It' if meant else 'it'} takes {there}")
        if key in form.secrets and not self.may_hold_secrets and not self.is_from_outside(keys):
            raise self.error(keys, _SECRET.format(instead=form.secrets[key]))
        if key in form.tables:
            return self.value(keys, form.tables[key], value)
        if key == "on":
            try:
                return failures_named(value)
            except PolicyError as problem:
                raise self.error(keys, str(problem)) from None
        return value

    def is_from_outside(self, keys: tuple[str, ...]) -> bool:
        return any(keys[: len(set_by)] == set_by for set_by in map(_keys_of, self.variables))

    def made(self, keys: tuple[str, ...], form: Form, arguments: Mapping[str, Any]) -> Any:
        try:
            return form.made(**arguments)
        except PolicyError as problem:
            raise self.error(keys, str(problem)) from None

    def notify(self, value: Any) -> Any:
        """Return the policy of channels that are written as tables: `{slack = {channel = "#ml-alerts"}}`."""
        if not isinstance(value, dict):
            if isinstance(value, str) and value.lstrip().startswith("{"):
                raise self.error("notify", "it begins like a table, but is neither TOML nor JSON")
            raise self.error(
                "notify", f'it is a table of channels, such as {{slack = "#ml-alerts"}}, not {_shown(value)}'
            )
        keys = ("notify",)
        form = FORMS["notify"]
        channels = [one for key in value if key in CHANNELS for one in self.channels((*keys, key), value[key])]
        arguments = {
            key: self.fallback_channel((*keys, key), inner)
            if key == "fallback"
            else self.argument((*keys, key), form, key, inner)
            for key, inner in value.items()
            if key not in CHANNELS
        }
        if not channels:
            raise self.error(keys, f'it names no channel: give {", ".join(CHANNELS)}, as in {{slack = "#ml-alerts"}}')
        return self.made(keys, form, {"channels": channels, **arguments})

    def fallback_channel(self, keys: tuple[str, ...], value: Any) -> Any:
        if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= CHANNELS.keys():
            such_as = 'such as {email = {to = "ops@example.org", host = "smtp.example.org"}}'
            raise self.error(keys, f"it is one channel, {such_as}, not {_shown(value)}")
        kind, inner = next(iter(value.items()))
        return self.channels((*keys, kind), inner)[0]

    def channels(self, keys: tuple[str, ...], value: Any) -> list[Any]:
        """Return the channels of one kind: one table, or several in a list."""
        several = isinstance(value, list) and keys[-1] != "email"  # which takes several addresses
        several = several or (isinstance(value, list) and all(isinstance(one, dict) for one in value))
        return [self.channel(keys, one) for one in (value if several else [value])]

    def channel(self, keys: tuple[str, ...], value: Any) -> Any:
        form = CHANNELS[keys[-1]]
        table = self.as_table(keys, form, value)
        given = {key: self.argument((*keys, key), form, key, inner) for key, inner in table.items()}
        route = {key: given.pop(key) for key in ROUTE if key in given}
        made = self.made(keys, form, given)
        return self.made(keys, Form("alerts.policy:Route"), {"channel": made, **route}) if route else made

    def error(self, keys: str | tuple[str, ...], problem: str) -> PolicyError:
        """Return the error for a key, with the file, the table and the key."""
        path = keys if isinstance(keys, str) else ".".join(keys)
        inside = [one for one in self.variables if path and _concerns(one, path)]
        changed = f" (changed by {joined(inside)} in the environment)" if inside else ""
        return PolicyError(f"{self.place}{f', {path}' if path else ''}{changed}: {problem}")


def _keys_of(variable: str) -> tuple[str, ...]:
    return tuple(variable.lower().removeprefix(policy_file.VARIABLES.lower()).split("__")[1:])


def _concerns(variable: str, path: str) -> bool:
    keys, wanted = _keys_of(variable), tuple(path.split("."))
    return keys[: len(wanted)] == wanted or wanted[: len(keys)] == keys


def _shown(value: object) -> str:
    """Return a value for a message, without secrets."""
    text = redact(repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST = 80
