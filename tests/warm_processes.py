"""Processes for Prefect's process pools and for Dask, forked from one that has imported what they need.

Spawning one costs two to four seconds of a CPU, nearly all of it for the same imports. Tests see no difference: the
process gets its work pickled, the environment of its parent, and Prefect's settings read from that.
tests/operations/test_concurrent_or_in_order.py spawns them, as users do.
"""

import importlib
import io
import multiprocessing
import os
import sys
from multiprocessing import context, forkserver, popen_forkserver, spawn, util
from pathlib import Path

import pytest

#: The name of the context for `multiprocessing.get_context`.
NAME = "warm"

_server = forkserver.ForkServer()


def use(patch):
    """Have the process pools of Prefect, and Dask, start warm processes, until `patch` is undone."""
    from prefect import task_runners  # seconds to import

    patch.setitem(context._concrete_contexts, NAME, WarmContext())
    patch.setattr(task_runners, "multiprocessing", _PrefectsMultiprocessing())
    _of_dask(patch, NAME)


def spawn_instead(patch):
    """Have them spawned, as Prefect and Dask do by themselves, until `patch` is undone."""
    patch.setattr("prefect.task_runners.multiprocessing", multiprocessing)
    _of_dask(patch, "spawn")


def _of_dask(patch, method):
    patch.setenv("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", method)  # read when Dask is imported
    if "distributed" in sys.modules:
        patch.setitem(sys.modules["dask"].config.get("distributed.worker"), "multiprocessing-method", method)


class _PrefectsMultiprocessing:
    """The module `multiprocessing`, as Prefect's task runners use it."""

    def __getattr__(self, name):
        return getattr(multiprocessing, name)

    def get_context(self, method):
        assert method == "spawn", f"Prefect starts the processes of a pool with {method!r} now"
        return context._concrete_contexts[NAME]


class _Popen(popen_forkserver.Popen):
    """As its base, with a server of its own."""

    def _launch(self, process_obj):
        written = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            context.reduction.dump(spawn.get_preparation_data(process_obj._name), written)
            context.reduction.dump(process_obj, written)
        finally:
            context.set_spawning_popen(None)
        _ensure_running()
        self.sentinel, to_child = _server.connect_to_new_process(self._fds)
        self.finalizer = util.Finalize(self, util.close_fds, (os.dup(to_child), self.sentinel))
        with open(to_child, "wb", closefd=True) as pipe:  # noqa: PTH123  # a descriptor
            pipe.write(written.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def _ensure_running():
    """Start the warm process, unless it runs; it looks for its modules beside this one."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        _server.set_forkserver_preload(["warm_modules"])
        _server.ensure_running()


class WarmProcess(context.ForkServerProcess):
    """A process with the environment that its parent has at its start."""

    _start_method = "spawn"  # what the process itself starts

    @staticmethod
    def _Popen(process_obj):  # the name that multiprocessing calls
        return _Popen(process_obj)

    def __getstate__(self):
        return {"_environment": _Environment(dict(os.environ)), **self.__dict__}  # the first is unpickled first


class WarmContext(context.ForkServerContext):
    """What `multiprocessing.get_context` returns for it."""

    _name = NAME
    Process = WarmProcess


class _Environment:
    """Variables that become those of the process that unpickles them."""

    def __init__(self, variables):
        self.variables = variables

    def __reduce__(self):
        return _become, (self.variables,)


def _become(variables):
    os.environ.clear()
    os.environ.update(variables)
    prefects = importlib.import_module("prefect.context")
    prefects.GLOBAL_SETTINGS_CONTEXT = prefects.root_settings_context()
