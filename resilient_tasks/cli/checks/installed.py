"""Checks of what is installed and configured: versions, settings, and the file of policies."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata

from resilient_tasks import __version__
from resilient_tasks.cli.checks.finding import Finding, ok, problem, skipped, warning
from resilient_tasks.core import policy_file, settings
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.wording import joined, number_of
from resilient_tasks.decorators import named

_DISTRIBUTION = "resilient-tasks"
#: The Python versions that the tests run on.
_TESTED = ((3, 11), (3, 13))
#: What happens with a version that is not allowed, where it is no plain error.
_WHAT_HAPPENS = {
    "fastapi": "Prefect's lists answer 422 from FastAPI 0.151 on, and its server does not start from 0.155 on",
    "sqlalchemy": "with SQLAlchemy 2.1 Prefect's schedules never fire, without an error on the client",
    "polars": "older polars writes structs of filtered rows wrongly",
    "pyarrow": "older pyarrow cannot write the text of a time in a zone such as +02:00",
}


def versions() -> Iterator[Finding]:
    """Compare the installed versions with those that this package allows."""
    own = f"resilient-tasks {__version__}, Python {platform.python_version()}, {platform.system()}"
    version = sys.version_info[:2]
    try:
        wrong = list(_clashes())
    except metadata.PackageNotFoundError:
        yield skipped(f"{own}; this package is not installed, so its requirements are unknown")
        return
    if not _TESTED[0] <= version <= _TESTED[1]:
        tested = " to ".join(".".join(map(str, each)) for each in _TESTED)
        yield warning(f"{own}: not tested on this Python", f"use Python {tested}")
    elif not wrong:
        yield ok(f"{own}, {_of('prefect')}")
    yield from wrong


def _of(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"no {name}"


def _clashes() -> Iterator[Finding]:
    from packaging.requirements import Requirement  # noqa: PLC0415  # Prefect needs it too

    for text in metadata.requires(_DISTRIBUTION) or []:
        needed = Requirement(text)
        is_extra = needed.marker is not None and "extra" in str(needed.marker)
        if is_extra or (needed.marker is not None and not needed.marker.evaluate()):
            continue
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield problem(f"{needed.name} is not installed", f'pip install "{needed.name}{needed.specifier}"')
            continue
        if not needed.specifier.contains(version, prereleases=True):
            why = _WHAT_HAPPENS.get(needed.name.lower(), "this package was not made for it")
            yield problem(f"{needed.name} {version}: {why}", f'pip install "{needed.name}{needed.specifier}"')


def configuration() -> Iterator[Finding]:
    """Check the settings, their variables, and each policy of the file."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            settings.from_environment_again()
        except PolicyError as error:
            yield problem(str(error), "correct the variable, or unset it")
        strange = [str(each.message) for each in said]
    for text in strange:
        yield warning(text, "correct the variable, or unset it")
    if not settings.current.enabled:
        yield warning("policies are switched off: functions run bare", "unset RESILIENT_TASKS_ENABLED")
    if settings.current.channels is False:
        yield warning("alerts are switched off: no message is sent", "unset RESILIENT_TASKS_CHANNELS")
    yield from _policies()


def _policies() -> Iterator[Finding]:
    try:
        tables = policy_file.found()
    except PolicyError as error:
        yield problem(str(error), "correct the file")
        return
    changed = sum(variable.startswith(policy_file.VARIABLES) for variable in os.environ)
    if tables is None:
        if changed:
            given = number_of(changed, "variable")
            yield warning(
                f"{given} of policies in the environment, and no file of policies in {os.getcwd()} or above",  # noqa: PTH109
                f"start in the project's folder, or set {policy_file.CONFIG}",
            )
        else:
            yield ok("no file of policies, which is fine: code names them")
        return
    good = []
    for name in tables.policies:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                named.keywords_of(name)
            except PolicyError as error:
                yield problem(str(error), "correct the table", about=name)
            else:
                good.append(name)
        for text in dict.fromkeys(str(each.message) for each in said):
            yield warning(text, "correct the variable, or unset it", about=name)
    if good:
        by = f", changed by {number_of(changed, 'variable')}" if changed else ""
        yield ok(f"{tables.path} has {number_of(len(good), 'policy', 'policies')}: {joined(good)}{by}")
