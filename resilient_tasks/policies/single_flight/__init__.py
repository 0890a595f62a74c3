"""One call for all callers that ask for the same at the same time."""
