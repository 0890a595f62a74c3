"""Whether this process can be forked: what other threads hold at that moment, nobody ever releases in the child.

A library that was only imported is no danger, one that was already used may be: after a first query polars has a pool
of threads, and a query in a forked child waits for it for ever.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

#: Threads that importing a library starts, and that its children can do without: by the names that Linux knows.
_HARMLESS = ("jemalloc_bg_thd", "polars-ooc")


def can_fork() -> bool:
    """Tell whether no thread runs here but this one and those that see to forks themselves."""
    if threading.active_count() > 1:
        return False
    if sys.platform != "linux":
        return True
    main = _name(Path(f"/proc/self/task/{os.getpid()}"))
    names = [name for name in map(_name, Path("/proc/self/task").iterdir()) if not name.startswith(_HARMLESS)]
    return names.count(main) == len(names) <= 1 + _of_openblas()


def _name(task: Path) -> str:
    return (task / "comm").read_text().strip()


def _of_openblas() -> int:
    """Return how many threads numpy's and scipy's linear algebra may keep: nameless ones, which it stops for a fork."""
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    libraries = {line.split()[-1] for line in mapped if "openblas" in line}
    return len(libraries) * ((os.cpu_count() or 1) - 1)
