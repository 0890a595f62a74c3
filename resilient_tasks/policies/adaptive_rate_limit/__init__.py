"""The adaptive rate limit."""
