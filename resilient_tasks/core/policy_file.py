"""Tables of policies in a TOML file, and the variables of the environment that change them.

The file is the one that `RESILIENT_TASKS_CONFIG` names, else the first `resilient_tasks.toml`, or `pyproject.toml` with
a table `[tool.resilient_tasks]`, from the current folder upwards.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import words

#: The variable that names the file.
CONFIG = "RESILIENT_TASKS_CONFIG"
#: What the variables that change a policy begin with: `RESILIENT_TASKS_POLICIES__FLIGHTS_API__RETRY__ATTEMPTS`.
VARIABLES = "RESILIENT_TASKS_POLICIES__"
#: What a list, a table and a quoted text begin with; within them, `#` and the end of a line do not end the value.
_OPENS = ("[", "{", '"', "'")
_OWN, _PROJECT = "resilient_tasks.toml", "pyproject.toml"

Table = Mapping[str, Any]


class Tables(NamedTuple):
    """The policies of a file.

    Attributes:
        path: of the file.
        prefix: what a policy's table is called before its name: `tool.resilient_tasks.policies`, or `policies`.
        policies: the tables by name.
    """

    path: Path
    prefix: str
    policies: Mapping[str, Table]

    def place(self, name: str) -> str:
        """Return where the policy `name` is written, for a message."""
        shown = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name, ensure_ascii=False)
        return f"[{self.prefix}.{shown}] in {self.path}"


def found() -> Tables | None:
    """Return the policies of this process's file; None if there is no file.

    Raises:
        PolicyError: the file that `RESILIENT_TASKS_CONFIG` names does not exist; a file cannot be read; or two files of
            one folder have policies.
    """
    if named := os.environ.get(CONFIG):
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise PolicyError(f"{CONFIG}={named} names no file: {path} does not exist. Correct it, or unset it")
        return _tables(path) or Tables(path, "tool.resilient_tasks.policies", {})
    here = Path.cwd()
    for folder in (here, *here.parents):
        both = [tables for name in (_OWN, _PROJECT) if (tables := _tables(folder / name)) is not None]
        if len(both) > 1:
            msg = f"{folder} has policies in {_OWN} and in {_PROJECT}: keep them in one, or name one in {CONFIG}"
            raise PolicyError(msg)
        if both:
            return both[0]
    return None


def named(name: str) -> tuple[Tables, Table]:
    """Return a policy's table, and the file that it is in.

    Raises:
        PolicyError: there is none of that name; the message names similar ones.
    """
    tables = found()
    if tables is None:
        msg = (
            f"no file has the policy {name!r}: write the table [tool.resilient_tasks.policies.{name}] into"
            f" pyproject.toml, or [policies.{name}] into resilient_tasks.toml, in {Path.cwd()} or a folder above it; or"
            f" name the file in {CONFIG}"
        )
        raise PolicyError(msg)
    if name not in tables.policies:
        raise PolicyError(f"{tables.path} has no policy {name!r}{_known(name, tables)}")
    return tables, tables.policies[name]


def _known(name: str, tables: Tables) -> str:
    if not tables.policies:
        return f": write the table {tables.place(name).partition(' in ')[0]}"
    meant = suggestion(name, tables.policies)
    return f"{meant or ':'} There {'are' if len(tables.policies) > 1 else 'is'} {', '.join(sorted(tables.policies))}"


def suggestion(word: str, known: Mapping[str, object] | tuple[str, ...] | frozenset[str]) -> str:
    """Return `: did you mean attempts?` as a part of a sentence; empty if no word is similar."""
    return words.did_you_mean(word, tuple(known)).replace("=", "")


# The environment.


class Override(NamedTuple):
    """A variable that changes a policy.

    Attributes:
        variable: its name.
        policy: the policy's name, in small letters.
        keys: of the value that it sets, such as `("retry", "attempts")`.
        value: as TOML or JSON reads it.
        text: as it is written.
    """

    variable: str
    policy: str
    keys: tuple[str, ...]
    value: Any
    text: str


def overrides() -> list[Override]:
    """Return the changes in the environment, whole policies before their parts."""
    return sorted(filter(None, map(_override, sorted(os.environ))), key=lambda one: len(one.keys))


def _override(variable: str) -> Override | None:
    text = os.environ[variable]
    if not variable.startswith(VARIABLES) or not text.strip():
        return None
    policy, *keys = variable.removeprefix(VARIABLES).lower().split("__")
    return Override(variable, policy, tuple(keys), _value(text), text)


def spelt(name: str) -> str:
    """Return a policy's name as variables spell it, in small letters: `flights_api` for `flights-api`."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _value(text: str) -> Any:
    """Return a variable's value: as TOML or JSON would read it, otherwise its text."""
    if not text.lstrip().startswith(_OPENS) and ("\n" in text or "#" in text):
        return text  # TOML would cut it there
    for read in (_as_toml, json.loads):
        try:
            value = read(text)
        except ValueError:
            continue
        if isinstance(value, bool | int | float | str | list | dict):
            return value
    return text


def _as_toml(text: str) -> Any:
    read = tomllib.loads(f"value = {text}")
    if len(read) > 1:
        raise ValueError(text)  # a line below it is another key
    return read["value"]


# The file.


def _tables(path: Path) -> Tables | None:
    """Return the policies of a file; None if there is no such file, or it has nothing of this library."""
    try:
        known = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise PolicyError(f"{path} cannot be read: {problem.strerror or problem}") from None
    return _read(path, known.st_mtime_ns, known.st_size, known.st_ino)


@functools.lru_cache(16)
def _read(path: Path, *_version: int) -> Tables | None:
    if not path.is_file():
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise PolicyError(f"{path} cannot be read: {problem.strerror or problem}") from None
    except ValueError as problem:  # TOML's errors, and those of the encoding
        raise PolicyError(f"{path} is not valid TOML: {problem}") from None
    project = content.get("tool", {})
    ours = project.get("resilient_tasks") if isinstance(project, dict) else None
    if path.name == _PROJECT:
        return None if ours is None else _checked(path, "tool.resilient_tasks", ours)
    if ours is None:
        return _checked(path, "", content)
    if "policies" in content:
        msg = f"{path} has [policies] and [tool.resilient_tasks]: put all policies under one of them"
        raise PolicyError(msg)
    return _checked(path, "tool.resilient_tasks", ours)


def _checked(path: Path, prefix: str, ours: Any) -> Tables:
    inside = f"[{prefix}] in {path}" if prefix else str(path)
    policies_at = f"{prefix}.policies" if prefix else "policies"
    if not isinstance(ours, dict):
        raise PolicyError(f"{path}: {prefix} is a table of policies: write [{policies_at}.flights-api]")
    for key in ours:
        if key not in {"policies", "tool"}:
            raise PolicyError(f"{inside} has the unknown key {key!r}{_instead_of(key, policies_at)}")
    policies = ours.get("policies", {})
    if not isinstance(policies, dict):
        raise PolicyError(f"{inside}: policies is a table of tables: write [{policies_at}.flights-api]")
    for name, table in policies.items():
        if not isinstance(table, dict):
            msg = (
                f"[{policies_at}] in {path} has {name!r} without the name of a policy: write"
                f" [{policies_at}.flights-api], and {name} below it"
            )
            raise PolicyError(msg)
    return Tables(path, policies_at, policies)


def _instead_of(key: str, policies_at: str) -> str:
    """Return what to write for an unknown key beside `policies`."""
    if meant := suggestion(key, ("policies",)):
        return meant
    from resilient_tasks.core import settings  # noqa: PLC0415  # which names this module's variables

    if key in settings.Settings.__dataclass_fields__:
        return f": settings are in the environment; write RESILIENT_TASKS_{key.upper()}, or configure({key}=...)"
    return f": policies are tables with a name; write [{policies_at}.{key if key.isidentifier() else 'flights-api'}]"
