"""Programs in Python that tests start, forked from one process that has imported what they need.

Starting one costs one to four seconds of a CPU, nearly all of it for the same imports. Tests see no difference: the
program is a child of the process that starts it, with the arguments, folder, environment, streams and session that it
is to have, `__main__` of its own, the library imported anew, and Prefect's settings read from its environment.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import process
from pathlib import Path

#: What may be in the environment of such a program, of what Python itself reads at its start.
_KNOWN = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH"}
_PR_SET_CHILD_SUBREAPER = 36
_Real = subprocess.Popen


class Popen(subprocess.Popen):
    """As its base, with a warm process for programs in Python that need nothing special of the interpreter's start."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags,
                       shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *more):  # fmt: skip
        restore_signals, gid, gids, uid, umask, new_session, group = more
        special = (executable, preexec_fn, pass_fds, not close_fds, shell, not restore_signals, gid, gids, uid)
        environment = {os.fsdecode(key): os.fsdecode(value) for key, value in (os.environ if env is None else env).items()}
        folder = Path(os.fsdecode(cwd or Path.cwd()))
        words = None if any(special) or umask >= 0 or group >= 0 else _of_python(args, environment)
        if words is None or not folder.is_dir():
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
                                   creationflags, shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *more)  # fmt: skip
            return
        streams = [at if own == -1 else own for at, own in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = _warm().start([words, str(folder), environment, bool(new_session)], streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def use(patch):
    """Have warm processes run the programs that `subprocess` starts, until `patch` is undone."""
    if sys.platform == "linux":
        patch.setattr(subprocess, "Popen", Popen)


def spawn_instead(patch):
    """Have them started by an interpreter of their own, until `patch` is undone."""
    patch.setattr(subprocess, "Popen", _Real)


def _of_python(args, environment):
    """Return the words after `python` of a command, or `None` if it is not one for a warm process."""
    words = [os.fsdecode(args)] if isinstance(args, (str, bytes, os.PathLike)) else list(map(os.fsdecode, args))
    if {name for name in environment if name.startswith("PYTHON")} - _KNOWN or "LD_PRELOAD" in environment:
        return None
    program = shutil.which(words[0], path=environment.get("PATH"))
    if program == sys.executable:
        return words[1:] if words[1:] and (not words[1].startswith("-") or words[1] in ("-c", "-m")) else None
    return [program, *words[1:]] if program and _is_script(program) else None


def _is_script(path):
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(1000).startswith(f"#!{sys.executable}\n".encode())


class _Warm:
    """The process from which programs are forked; it ends with this one."""

    def __init__(self):
        self._mine, theirs = socket.socketpair()
        self._lock = threading.Lock()
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RESILIENT_"))}
        program = [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())]
        self._process = _Real(program, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=own)
        theirs.close()

    def start(self, what, streams):
        """Start a program, and return its process id: it is a child of this process."""
        message = json.dumps(what).encode()
        with self._lock, _adopting():
            self._mine.sendall(len(message).to_bytes(8, "big"))
            socket.send_fds(self._mine, [b"."], streams)
            self._mine.sendall(message)
            answer = self._mine.recv(8)
        if len(answer) != 8:
            raise OSError("the warm process has ended")
        return int.from_bytes(answer, "big")


@contextlib.contextmanager
def _adopting():
    """Have what descends from this process become its child where the process between them ends."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


_started = {}
_starting = threading.Lock()


def _warm():
    with _starting:
        if os.getpid() not in _started:
            _started[os.getpid()] = _Warm()
        return _started[os.getpid()]


def _serve(connection):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("warm_modules", "prefect.cli", "prefect.server.api.server", "uvicorn.main", "duckdb", "sklearn.ensemble"):
        with contextlib.suppress(ImportError):  # not installed
            importlib.import_module(name)
    assert not [name for name in sys.modules if name.startswith("resilient_tasks")]
    gc.freeze()  # what all share is not to be looked through, and so copied, by each
    while size := connection.recv(8, socket.MSG_WAITALL):
        _, streams, *_ = socket.recv_fds(connection, 1, 3)
        what = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        answer, written = os.pipe()
        goes, go = os.pipe()
        # The process between ends at once, and so the program becomes a child of the one that asked for it.
        if not (between := os.fork()):
            if pid := os.fork():
                os.write(written, pid.to_bytes(8, "big"))
                os._exit(0)
            os.close(go)
            os.read(goes, 1)
            _end(_become(streams, *what))
        os.waitpid(between, 0)
        connection.sendall(os.read(answer, 8))
        for each in (*streams, answer, written, goes, go):
            os.close(each)


def _become(streams, words, folder, environment, new_session):
    """Run the program in this process, and return its exit status."""
    if new_session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    before = sys.stdout, sys.stderr
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 4096)
    _open_streams(unbuffered=bool(environment.get("PYTHONUNBUFFERED")))
    sys.argv, sys.orig_argv = words, [sys.executable, *words]
    _forget_the_old_environment()
    main = sys.modules["__main__"] = type(sys)("__main__")
    main.__builtins__ = sys.modules["builtins"]
    start = folder if words[0] == "-m" else "" if words[0] == "-c" else str((Path(folder) / words[0]).resolve().parent)
    sys.path[:] = [start, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *_LIBRARIES]
    sys.path_importer_cache.clear()
    if "pytest" in (Path(words[0]).name, *words[1:2]):
        _let_plugins_be_imported()
    status = _status_of(lambda: _run(main, words))
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (*before, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status


def _let_plugins_be_imported():
    """Keep pytest from a warning about each plugin that is imported already: its assertions are not rewritten."""
    rewrite = importlib.import_module("_pytest.assertion.rewrite")
    rewrite.AssertionRewritingHook._warn_already_imported = lambda *_: None


def _end(status):
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _run(main, words):
    if words[0] == "-m":
        sys.argv = words[1:]
        if not hasattr(sys.modules.get(words[1]), "__path__"):
            sys.modules.pop(words[1], None)
        runpy._run_module_as_main(words[1])
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), vars(main))
    else:
        main.__file__ = words[0]
        main.__cached__ = None
        exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), vars(main))


def _status_of(program):
    """Return the exit status of a program, which may end as any does."""
    try:
        program()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        shown = error.__traceback__
        while shown and shown.tb_frame.f_code.co_filename == __file__:  # of this file
            shown = shown.tb_next
        sys.excepthook(type(error), error.with_traceback(shown), shown)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _open_streams(*, unbuffered):
    """Open the standard streams as an interpreter does at its start."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: PTH123, SIM115
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = open(number, "wb", 0 if unbuffered else -1, closefd=False)  # noqa: PTH123, SIM115
        at_once = number == 2 or os.isatty(number)
        opened = io.TextIOWrapper(raw, "utf-8", errors, line_buffering=at_once, write_through=unbuffered)
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)


def _forget_the_old_environment():
    """Read the environment anew, where the modules have kept it."""
    time.tzset()
    tempfile.tempdir = None
    process.ORIGINAL_DIR = str(Path.cwd())
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    context = importlib.import_module("prefect.context")
    context.GLOBAL_SETTINGS_CONTEXT = None  # or else the profiles would be those of the old home
    context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()


if __name__ == "__main__":
    _count = 1 + len(list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))
    _LIBRARIES = sys.path[_count:]
    _serve(socket.socket(fileno=int(sys.argv[1])))
