"""Retries and their budget."""
