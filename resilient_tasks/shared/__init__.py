"""Per-process caches of shared state, with unflushed updates."""
