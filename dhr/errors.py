"""The one exception that means: the user's input is wrong, not our code."""


class InputError(Exception):
    """Wrong input; the message names the place, the value and the cure. Commands turn it into exit code 2."""
