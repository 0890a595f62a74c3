"""The result of a replay."""

from resilient_tasks.quarantine.replay import Replay

__all__ = ["Replay"]
