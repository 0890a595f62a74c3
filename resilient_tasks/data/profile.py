"""Profiles of frames, the baselines of a drift gate."""

from resilient_tasks.validation.profile import ColumnProfile, Profile, profile

__all__ = ["ColumnProfile", "Profile", "profile"]
