"""What this process knows of the states that calls share, and has not told yet."""
