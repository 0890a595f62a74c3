"""Split Parquet data that is larger than memory."""

from resilient_tasks.chunks.split import ChunksReport, split_parquet

__all__ = ["ChunksReport", "split_parquet"]
