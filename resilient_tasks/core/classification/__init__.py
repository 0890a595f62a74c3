"""What kind of failure an error is."""
