"""What a pipeline will do, before it runs: `explain`, its worst case, its remarks, and its drawings."""
