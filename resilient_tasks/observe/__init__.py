"""Seeing what happened: log lines, and the report of a run. Both are made from the events alone."""
