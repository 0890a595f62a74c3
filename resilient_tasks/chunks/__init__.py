"""Split Parquet data that is larger than memory."""
