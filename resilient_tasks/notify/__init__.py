"""Telling people: what a message says, who sends it, and one file a channel."""
