"""Malformed data: pandera schemas, splitting by row, and the quarantine."""
