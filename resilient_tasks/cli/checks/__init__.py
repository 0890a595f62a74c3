"""The checks of `resilient-tasks doctor`."""
