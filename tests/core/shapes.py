"""Errors shaped like those of client libraries that are not installed with the tests."""

from types import SimpleNamespace

import pytest


def shaped(name, *bases, args=("no",), cause=None, **held):
    """Return an error of a class `library.module.Name`, that derives from classes of its library and holds attributes.

    Args:
        name: the class, with its module.
        bases: its bases, nearest first, with their modules; or classes of Python.
        args: the error's arguments.
        cause: what it was raised from.
        held: its attributes.
    """
    cls = Exception
    for base in (*reversed(bases), name):
        if isinstance(base, type):
            cls = base
        else:
            module, _, short = base.rpartition(".")
            cls = type(short, (cls,), {"__module__": module})
    error = cls(*args)
    vars(error).update(held)
    if cause is not None:
        error.__cause__ = cause
    return error


def answered(status, body=b"", **headers):
    """Return an error of an unknown client, with the response to a failed request."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = SimpleNamespace(status_code=status, headers=headers, _content=body)
    return shaped("acme.errors.RequestFailed", response=response)


def sql(*args, **held):
    """An error like those of PEP 249 database drivers."""
    return shaped("driver.OperationalError", "driver.DatabaseError", "driver.Error", args=args, **held)


def rows(*tables):
    """Return the parameters of a test: each error of tables by kind, with the kind."""
    return [
        pytest.param(error, kind, id=f"{kind.value}-{type(error).__module__}-{error!r:.60}")
        for table in tables
        for kind, errors in table.items()
        for error in errors
    ]
