"""Rehearsals: a flow runs unchanged under injected faults, and each run is compared with one without faults."""
