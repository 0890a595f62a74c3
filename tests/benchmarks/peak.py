"""Print the MiB that one contestant's split adds to a process that already holds the frame.

    python tests/benchmarks/peak.py FRAME LIBRARY CONTESTANT

Started by `splitting.py`, with allocators that give back at once what is freed: else the split would find its memory
among what reading the frame has left over. Needs Linux, where a process can set back its own high-water mark.
"""

import gc
import re
import sys
import time
from pathlib import Path

from contestants import CONTESTANTS
from flights import load

SELF = Path("/proc/self")
GIVE_BACK = {
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",  # polars
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_TRIM_THRESHOLD_": "0",
}


def resident(mark: str) -> float:
    """Return a mark of /proc/self/status in MiB."""
    found = re.search(rf"{mark}:\s+(\d+) kB", (SELF / "status").read_text())
    return int(found[1]) / 1024


def main() -> None:
    path, library, name = sys.argv[1:]
    (contestant,) = (each for each in CONTESTANTS if (each.library, each.name) == (library, name))
    frame = load(Path(path), library)
    contestant.split(frame.head(1000))  # what it imports is not what it costs
    gc.collect()
    time.sleep(0.5)  # polars' threads give back what they hold
    (SELF / "clear_refs").write_text("5")
    before = resident("VmRSS")
    parts = contestant.split(frame)
    print(resident("VmHWM") - before)
    del parts


if __name__ == "__main__":
    main()
