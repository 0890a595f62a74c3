"""Alerts: incidents, the outbox of their messages, the dispatcher that sends them, and the channels."""
