"""Tasks and flows of Prefect. No other room imports it."""
