"""Log lines and run reports, computed from events alone."""
