"""Data at rest: files in folders and buckets, frames as Parquet, values as JSON, the results that are kept."""
