"""Concurrent calls with equal arguments share one attempt."""
