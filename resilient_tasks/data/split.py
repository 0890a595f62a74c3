"""Split a frame by its schema."""

from resilient_tasks.validation.split import Reason, Report, Split, split

__all__ = ["Reason", "Report", "Split", "split"]
