"""The edge to Prefect: the only room that imports it."""
