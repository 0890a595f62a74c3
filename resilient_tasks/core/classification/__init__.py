"""Classification of failures: the kind of an error, its HTTP status, the wait that it asks for."""
