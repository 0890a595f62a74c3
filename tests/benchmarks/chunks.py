"""Split a Parquet data set that is larger than the memory, and print time and memory.

`python tests/benchmarks/chunks.py` generates 100 million rows in chunks (about 1 GB, removed afterwards), splits them
in a process of its own, prints rows, seconds and peak memory, and exits with 1 where a promise is broken.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_LIMIT = 2.0  # GB of resident memory, at the peak
_FILE = 10_000_000
_BAD = 0.0001


def generate(folder: Path, rows: int) -> None:
    """Write `rows` rows in files of at most 10 million, `_BAD` of them with a distance below zero."""
    import polars as pl

    random = np.random.default_rng(7)
    for number, start in enumerate(range(0, rows, _FILE)):
        size = min(_FILE, rows - start)
        distance = random.integers(1, 5_000, size, dtype=np.int32)
        distance[random.random(size, dtype=np.float32) < _BAD] = -1
        frame = pl.DataFrame(
            {
                "distance": distance,
                "air_time": random.random(size, dtype=np.float32),
                "carrier": pl.Series(random.integers(0, 3, size, dtype=np.uint8)).replace_strict(
                    {0: "UA", 1: "AA", 2: "DL"}, return_dtype=pl.String
                ),
            }
        )
        frame.write_parquet(folder / f"{number:03}.parquet", row_group_size=1_000_000)
        print(f"generated {start + size:,} of {rows:,} rows", file=sys.stderr)


def run(folder: Path) -> None:
    """Split the data in `folder`."""
    import pandera.polars as pa
    import polars as pl

    from resilient_tasks.chunks.split import split_parquet

    schema = pa.DataFrameSchema(
        {
            "distance": pa.Column(pl.Int32, pa.Check.ge(0)),
            "air_time": pa.Column(pl.Float32, pa.Check.in_range(0, 1)),
            "carrier": pa.Column(pl.String, pa.Check.isin(["UA", "AA", "DL"])),
        }
    )
    report = split_parquet(folder / "in", schema, folder / "good.parquet", quarantine=folder / "quarantine")
    print(report.rows, report.good, report.invalid)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run(asked.run)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="chunks-"))
    try:
        (folder / "in").mkdir()
        generated = subprocess.run([sys.executable, "-c", _generating(folder / "in", asked.rows)], check=False)
        generated.check_returncode()
        return measure(folder, asked.rows)
    finally:
        shutil.rmtree(folder)


def _generating(folder: Path, rows: int) -> str:
    here = str(Path(__file__).parent)
    return (
        f"import sys; sys.path.insert(0, {here!r}); import chunks, pathlib; "
        f"chunks.generate(pathlib.Path({str(folder)!r}), {rows})"
    )


def measure(folder: Path, rows: int) -> int:
    """Split in a child process, and read its peak memory from the system; return 1 if a goal is missed."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, __file__, "--run", str(folder)], stdout=subprocess.PIPE, text=True)
    said = child.stdout.read()
    _, status, usage = _wait(child)
    seconds = time.perf_counter() - started
    if status:
        print(f"the split failed with {status}")
        return 1
    read, good, invalid = map(int, said.split())
    gigabytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    print(f"{read:,} rows = {good:,} good + {invalid:,} bad; {seconds:.0f} s; peak {gigabytes:.2f} GB of {_LIMIT} GB")
    broken = [
        words
        for kept, words in (
            (read == rows == good + invalid, "a row is missing"),
            (gigabytes < _LIMIT, "too much memory"),
        )
        if not kept
    ]
    for words in broken:
        print(f"broken: {words}")
    return 1 if broken else 0


def _wait(child: subprocess.Popen[str]) -> tuple[int, int, resource.struct_rusage]:
    import os

    return os.wait4(child.pid, 0)


if __name__ == "__main__":
    sys.exit(main())
