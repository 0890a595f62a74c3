"""The integration with Prefect: the only package that imports it."""
