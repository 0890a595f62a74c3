"""What `bench_table.py` measures: the groups of rows, the libraries beside ours, and how they are timed."""
