"""Programs in Python that tests start, forked from one process that has imported what they need.

Starting one costs one to four seconds of a CPU, nearly all of it for the same imports. Tests see no difference: the
program is a child of the process that starts it, with the arguments, folder, environment, streams and session that it
is to have, `__main__` of its own, the library imported anew, and Prefect's settings read from its environment.
"""

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import inspect
import io
import itertools
import json
import linecache
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
from multiprocessing import process, util
from pathlib import Path

#: What may be in the environment of such a program, of what Python itself reads at its start.
_KNOWN = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH"}
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNET = 0x40000000
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
#: What `subprocess` passes on where the caller does not ask for anything special.
_USUAL = {
    **dict.fromkeys(("executable", "preexec_fn", "gid", "gids", "uid")),
    "close_fds": True,
    "shell": False,
    "restore_signals": True,
    "umask": -1,
    "process_group": -1,
}
#: The number below which files are opened that a program is given; no program has as many.
_HIGH = 500
_Real = subprocess.Popen
_real_spawn = util.spawnv_passfds


class Popen(subprocess.Popen):
    """As its base, with a warm process for programs in Python that need nothing special of the interpreter's start."""

    def _execute_child(self, *args, **kwargs):
        given = inspect.signature(super()._execute_child).bind(*args, **kwargs).arguments
        if (pid := _forked_for(given)) is None:
            super()._execute_child(*args, **kwargs)
            return
        self.pid = pid
        self._child_created = True
        self._close_pipe_fds(*(given[name] for name in _PIPES))


class _Subprocess:
    """The module `subprocess`, as Prefect uses it to start a server."""

    Popen = Popen

    def __getattr__(self, name):
        return getattr(subprocess, name)


def _forked_for(given):
    """Return the id of the process that a warm process has forked, or `None` if it is not one for that."""
    environment = os.environ if given["env"] is None else given["env"]
    environment = {os.fsdecode(key): os.fsdecode(value) for key, value in environment.items()}
    folder = Path(os.fsdecode(given["cwd"] or Path.cwd()))
    if any(given[name] != usual for name, usual in _USUAL.items()) or given["pass_fds"] or not folder.is_dir():
        return None
    space, args = _namespace(given["args"])
    words = _of_python(args, environment)
    if words is None:
        return None
    streams = [at if given[name] == -1 else given[name] for at, name in enumerate(("p2cread", "c2pwrite", "errwrite"))]
    is_group = bool(given["start_new_session"])
    return _warm().start([words, str(folder), environment], streams, space=space, is_group=is_group)


def _spawned_by_multiprocessing(path, args, passfds):
    """As `multiprocessing.util.spawnv_passfds`, with a warm process for what it can run."""
    environment = dict(os.environ)
    words, passed = _of_python([path, *args[1:]], environment), sorted(map(int, passfds))
    program = [words, str(Path.cwd()), environment]
    return (words and _warm().start(program, [0, 1, 2, *passed], passed=passed)) or _real_spawn(path, args, passfds)


def use(patch):
    """Have warm processes run the programs that `subprocess` and `multiprocessing` start, until `patch` is undone."""
    if sys.platform == "linux":
        patch.setattr(subprocess, "Popen", Popen)
        patch.setattr(util, "spawnv_passfds", _spawned_by_multiprocessing)


def use_for_servers(patch):
    """Have them run the servers that Prefect starts for tests, until `patch` is undone."""
    if sys.platform == "linux":
        patch.setattr(importlib.import_module("prefect.server.api.server"), "subprocess", _Subprocess())


def spawn_instead(patch):
    """Have them started by an interpreter of their own, until `patch` is undone."""
    patch.setattr(subprocess, "Popen", _Real)
    patch.setattr(util, "spawnv_passfds", _real_spawn)


def _namespace(args):
    """Return the network namespace that a command enters, if it does, and the command that it runs there."""
    entered = isinstance(args, list) and args[:3] == ["ip", "netns", "exec"]
    return (args[3], args[4:]) if entered else (None, args)


def _of_python(args, environment):
    """Return the words after `python` of a command, or `None` if it is not one for a warm process."""
    words = [os.fsdecode(args)] if isinstance(args, (str, bytes, os.PathLike)) else list(map(os.fsdecode, args))
    if {name for name in environment if name.startswith("PYTHON")} - _KNOWN or "LD_PRELOAD" in environment:
        return None
    program = shutil.which(words[0], path=environment.get("PATH"))
    if program == sys.executable and words[1:]:
        option, its_value = words[1][:2], words[1][2:]
        if option in ("-c", "-m"):
            return [option, *filter(None, [its_value]), *words[2:]]  # `-mpytest` is `-m pytest`
        return None if words[1].startswith("-") else words[1:]
    return [program, *words[1:]] if program and _is_script(program) else None


def _is_script(path):
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(1000).startswith(f"#!{sys.executable}\n".encode())


class _Warm:
    """The process from which programs are forked; it ends with the one that it serves."""

    def __init__(self, connection):
        self._connection = connection
        self._lock = threading.Lock()

    def start(self, program, files, *, passed=(), space=None, is_group=False):
        """Start a program, and return its process id, or `None` where it cannot: it is a child of this process.

        Args:
            program: its words, its folder and its environment.
            files: its standard streams, and what else it is to have open.
            passed: the numbers that the latter have there.
            space: the network namespace that it enters.
            is_group: whether it has a session of its own.
        """
        message = json.dumps([program, {"passed": passed, "space": space}, is_group]).encode()
        with self._lock, _adopting(), contextlib.suppress(OSError):
            self._connection.sendall(len(message).to_bytes(8, "big"))
            socket.send_fds(self._connection, [b"."], files)
            self._connection.sendall(message)
            return int.from_bytes(self._connection.recv(8), "big") or None
        return None

    def stop(self):
        """End it."""
        self._connection.shutdown(socket.SHUT_RDWR)  # also where a child has it open
        self._connection.close()

    def keep_only(self, files):
        """Close all but the standard streams, these files and the connection to it."""
        _close_all_but(self._connection.fileno(), *files)


def _spawned():
    """Start such a process as a program of its own."""
    mine, theirs = socket.socketpair()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RESILIENT_"))}
    program = [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())]
    _Real(program, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=own)
    theirs.close()
    return _Warm(mine)


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
            _started[os.getpid()] = _spawned()
        return _started[os.getpid()]


def _serve(connection):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in (
        "warm_modules",
        "prefect.cli",
        "prefect.server.api.server",
        "uvicorn.main",
        "duckdb",
        "sklearn.ensemble",
    ):
        with contextlib.suppress(ImportError):  # not installed
            importlib.import_module(name)
    assert not [name for name in sys.modules if name.startswith("resilient_tasks")]
    gc.freeze()  # what all share is not to be looked through, and so copied, by each
    _answer(connection)


def _answer(connection):
    """Start programs until the other end of the connection is closed."""
    while size := connection.recv(8, socket.MSG_WAITALL):
        _, streams, *_ = socket.recv_fds(connection, 1, 100)
        message = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        program, more, is_group = json.loads(message)
        answer, written = os.pipe()
        goes, go = os.pipe()
        # The process between ends at once, and so the program becomes a child of the one that asked for it.
        if not (between := os.fork()):
            if os.fork():
                os._exit(0)
            if is_group:
                os.setsid()
            os.write(written, os.getpid().to_bytes(8, "big"))
            os.close(go)
            os.read(goes, 1)
            connection.close()
            _end(_become(streams, *program, **more))
        os.waitpid(between, 0)
        connection.sendall(os.read(answer, 8))
        for each in (*streams, answer, written, goes, go):
            os.close(each)


def _become(streams, words, folder, environment, *, passed, space):
    """Run the program in this process, and return its exit status."""
    if space is not None:
        _enter(space)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    before = sys.stdout, sys.stderr
    below = _forked()
    apart = [fcntl.fcntl(stream, fcntl.F_DUPFD, _HIGH) for stream in streams]  # from the numbers that they shall have
    _started[os.getpid()].keep_only(apart)
    for number, stream in zip([0, 1, 2, *passed], apart, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    subprocess.Popen, util.spawnv_passfds = Popen, _spawned_by_multiprocessing  # for the programs that this one starts
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
    _started.pop(os.getpid()).stop()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(below, 0)
    return status


def _enter(space):
    with open(f"/var/run/netns/{space}", "rb") as its:  # noqa: PTH123
        if ctypes.CDLL(None, use_errno=True).setns(its.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), space)


def _let_plugins_be_imported():
    """Keep pytest from a warning about each plugin that is imported already: its assertions are not rewritten."""
    rewrite = importlib.import_module("_pytest.assertion.rewrite")
    rewrite.AssertionRewritingHook._warn_already_imported = lambda *_: None


def _end(status):
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _forked():
    """Fork a process that starts the programs of this one, and return its id."""
    mine, theirs = socket.socketpair()
    if not (pid := os.fork()):
        mine.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        _close_all_but(theirs.fileno())
        _answer(theirs)
        os._exit(0)
    theirs.close()
    # Its number is none that a file of the program has to have.
    _started[os.getpid()] = _Warm(socket.socket(fileno=fcntl.fcntl(mine.detach(), fcntl.F_DUPFD_CLOEXEC, _HIGH)))
    return pid


def _close_all_but(*kept):
    for lowest, highest in itertools.pairwise([2, *sorted(kept), 4096]):
        os.closerange(lowest + 1, highest)


def _run(main, words):
    if words[0] == "-m":
        sys.argv = words[1:]
        if not hasattr(sys.modules.get(words[1]), "__path__"):
            sys.modules.pop(words[1], None)
        runpy._run_module_as_main(words[1])
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        if sys.version_info >= (3, 13):  # since then, tracebacks show the lines of such a program
            linecache.cache["<string>"] = (len(words[1]), None, words[1].splitlines(keepends=True), "<string>")
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
        sys.stderr.write(f"{end.code}\n")
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
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = open(number, "wb", 0 if unbuffered else -1, closefd=False)  # noqa: SIM115
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
    importlib.import_module("prefect.logging.configuration").setup_logging(incremental=False)


if __name__ == "__main__":
    _count = 1 + len(list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))
    _LIBRARIES = sys.path[_count:]
    _serve(socket.socket(fileno=int(sys.argv[1])))
