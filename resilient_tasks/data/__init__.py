"""The public addresses of the rooms `validation`, `quarantine` and `chunks`: names alone, no code."""
