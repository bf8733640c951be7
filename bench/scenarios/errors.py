class BenchError(Exception):
    """Something could not be measured; the text is one line for the user."""
