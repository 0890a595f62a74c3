#!/usr/bin/env bash
# polars 2.1.0: a sink_csv or sink_ndjson that raises replaces the file that was there by one that reads without an error
# and lacks nearly half of its rows. (sink_parquet leaves one that readers mostly refuse; one time of six they read it.)
# Expected: the earlier file, or none.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet polars==2.1.0
cat > "$folder/case.py" <<'PY'
import sys
from pathlib import Path

import polars as pl

folder = Path(sys.argv[1])
rows = 3_000_000
texts = [str(number) for number in range(rows)]
texts[-1] = "n/a"
pl.DataFrame({"text": texts}).write_parquet(folder / "source.parquet", row_group_size=100_000)
numbers = pl.scan_parquet(folder / "source.parquet").select(pl.col("text").cast(pl.Int64))
print("polars", pl.__version__)
for kind, read in {"csv": pl.read_csv, "ndjson": pl.read_ndjson}.items():
    target = folder / f"target.{kind}"
    getattr(pl.LazyFrame({"text": [7]}), f"sink_{kind}")(target)
    try:
        getattr(numbers, f"sink_{kind}")(target)
    except pl.exceptions.InvalidOperationError as error:
        left = read(target).height
        print(f"{kind}: {type(error).__name__}; the target now reads as", "some rows" if 1 < left < rows else f"{left} rows")
PY
"$folder/venv/bin/python" "$folder/case.py" "$folder" | tee "$folder/seen"
# Seen:
#   polars 2.1.0
#   csv: InvalidOperationError; the target now reads as some rows  (1,600,000 of 3,000,000)
#   ndjson: InvalidOperationError; the target now reads as some rows  (about as many)
for kind in csv ndjson; do
    grep -q "^$kind: InvalidOperationError; the target now reads as some rows" "$folder/seen"
done
