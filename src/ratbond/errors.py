"""Errors that end a command. Their text is one line for the user and says what to do."""


class RatbondError(Exception):
    """Something that only the user can put right."""

    exit_code = 1


class UsageError(RatbondError):
    """A flag, a variable or a file says something that cannot be meant."""

    exit_code = 2
