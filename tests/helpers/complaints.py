"""What a command says of wrong words."""

from collections.abc import Sequence

import pytest

from dhr.config.command import WRONG_CONFIG, WRONG_INPUT, exit_codes
from dhr.config.compose import compose


def complaint(capsys: pytest.CaptureFixture[str], verb: str, words: Sequence[str]) -> str:
    """What the command would say; it has to mean that the input is wrong."""
    with pytest.raises(SystemExit) as stop, exit_codes(WRONG_CONFIG, debug=False):
        compose(verb, words)
    assert stop.value.code == WRONG_INPUT
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message
