"""What ends a demo."""


class DemoError(Exception):
    """The demo cannot go on; the text is one line."""


class Interrupted(Exception):  # noqa: N818 (nothing is wrong: somebody has seen enough)
    """A signal says to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
