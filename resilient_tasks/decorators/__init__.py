"""From a decorator's keywords to a pipeline around a function."""
