"""Compare a frame with the profile of another."""

from resilient_tasks.validation.drift import ColumnDrift, Drift, DriftReport, Limits

__all__ = ["ColumnDrift", "Drift", "DriftReport", "Limits"]
