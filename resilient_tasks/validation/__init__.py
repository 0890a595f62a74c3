"""Split data by a schema into good and bad rows, and compare it with a baseline."""
