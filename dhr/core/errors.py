"""The one exception that means: the user's input is wrong, not our code."""


class InputError(Exception):
    r"""Wrong input; the message names the place, the value and the cure. Commands turn it into exit code 2.

    A loader process of torch hands its errors on as a text, "Caught InputError in DataLoader worker process 0." with a
    traceback, and makes a new error of it. The new error keeps only the message of the first one.

    >>> print(InputError("Caught InputError in worker 0.\nTraceback ...\ndhr.core.errors.InputError: a.png: empty"))
    a.png: empty
    """

    def __init__(self, message: str = "") -> None:
        kind = type(self)
        if message.startswith(f"Caught {kind.__name__} in "):
            message = message.rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")[2].rstrip("\n")
        super().__init__(message)
