"""The quarantine."""

from resilient_tasks.quarantine.batch_file import QuarantineError
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantinedBatch

__all__ = ["Quarantine", "QuarantineError", "QuarantinedBatch"]
