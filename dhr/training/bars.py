"""The progress bar of training."""

import sys

from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar

BAR = "━╸•…"  # what rich draws with


def progress_bar() -> ProgressBar:
    """A rich bar on a terminal that can show its characters; else plain lines, every 50 steps without a terminal."""
    if not sys.stderr.isatty():
        return TQDMProgressBar(refresh_rate=50)
    return RichProgressBar() if knows(sys.stdout.encoding, BAR) else TQDMProgressBar()


def knows(encoding: str, text: str) -> bool:
    """Whether a text can be written in an encoding."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
