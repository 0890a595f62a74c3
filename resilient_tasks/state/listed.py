"""Shared states by name, for metrics that show them: a policy registers how its own are read from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable

#: By kind, such as `breaker`: returns the name and the condition of each state in the store.
LISTED: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {}
