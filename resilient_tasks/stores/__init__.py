"""State that several processes share: SQLite for those of one machine, Redis for all machines."""
