"""Shared state: stores, and the per-process view of them."""
