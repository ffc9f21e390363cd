"""The progress bar of training."""

import sys

from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar


def progress_bar() -> ProgressBar:
    """A rich bar with steps per second on a terminal; plain lines, seldom, where the output goes to a file."""
    return RichProgressBar() if sys.stderr.isatty() else TQDMProgressBar(refresh_rate=50)
