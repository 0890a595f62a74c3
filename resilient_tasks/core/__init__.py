"""The core: what a call is, how policies surround it, and what can come of it. Standard library only."""
