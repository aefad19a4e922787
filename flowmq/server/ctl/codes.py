"""Exit codes, as rabbitmqctl has them (sysexits.h)."""

OK = 0
USAGE = 64
DATA = 65  # what was given is wrong
NO_USER = 67
NO_HOST = 68
UNAVAILABLE = 69  # no broker, or it says no
SOFTWARE = 70
CANNOT_CREATE = 73
TIMEOUT = 75
NOT_ALLOWED = 77
CONFIGURATION = 78


class Failed(Exception):
    """The end of a verb that did not do what was asked; the message is for people."""

    def __init__(self, message: str, code: int = UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code
