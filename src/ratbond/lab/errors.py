"""What goes wrong in the lab."""


class LabError(Exception):
    """The lab cannot do what was asked; the text is one line that says what to do."""


class CommandError(LabError):
    """A command in one of the lab's hosts, or one that builds it, failed."""
