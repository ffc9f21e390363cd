"""Truth and prediction of one image in a frame of IGNORE, and the runs of equal pairs along its rows.

Runs are a few thousand where pixels are hundreds of thousands, so everything that is scored is counted from them.
"""

from dataclasses import dataclass

import numpy as np

from dhr.core.labels import IGNORE

WORD = 64  # pixels: rows are so padded that each begins at a word of bits


@dataclass(frozen=True)
class Runs:
    """Runs of equal (truth, prediction) pairs of a framed image, one after the other; those of IGNORE are among them.

    Attributes:
        truth: (R) uint8 label of each run.
        prediction: (R) uint8 label of each run; IGNORE where the truth is.
        stop: (R) int64 place behind its last pixel, where the next one begins.
        length: (R) int64 pixels of each run.
    """

    truth: np.ndarray
    prediction: np.ndarray
    stop: np.ndarray
    length: np.ndarray


class Frame:
    """Truth and prediction of an image, each row padded with IGNORE, between rows of IGNORE.

    Where the truth is IGNORE, the prediction is made IGNORE too: these pixels belong to no class in either. A frame is
    filled again for the next image of its size: fresh memory for each would cost more than all that is computed in it.

    Attributes:
        width: columns of a framed row; at least one of them is frame.
        labels: (2,N) uint8, truth and prediction, row by row.
        along: (2,N/64) uint64, whether the next pixel has another label, as bits, the lowest first.
        down: (2,N/64) uint64, whether the pixel below has another label.
    """

    def __init__(self, size: tuple[int, int], *, rows: int) -> None:
        """A frame for images of this (height, width), with so many rows above and below."""
        height, columns = size
        self.width = (columns // WORD + 1) * WORD
        labels = np.full((2, rows + height + rows, self.width), IGNORE, np.uint8)
        self._inside = labels[:, rows:-rows, :columns]
        self.labels = labels.reshape(2, -1)
        self._differ = np.zeros(self.labels.shape, bool)

    def fill(self, prediction: np.ndarray, truth: np.ndarray) -> Runs:
        """Takes two (H,W) uint8 masks, and returns their runs."""
        labels, differ, width = self.labels, self._differ, self.width
        self._inside[0], self._inside[1] = truth, prediction
        ignored = np.equal(labels[0], IGNORE, out=differ[0]).view(np.uint8)
        labels[1] |= np.negative(ignored, out=ignored)  # -1 is IGNORE in eight bits
        differ[:, -width:] = False
        np.not_equal(labels[:, width:], labels[:, :-width], out=differ[:, :-width])
        self.down = np.packbits(differ, axis=1, bitorder="little").view("<u8")
        np.not_equal(labels[:, 1:], labels[:, :-1], out=differ[:, :-1])
        self.along = np.packbits(differ, axis=1, bitorder="little").view("<u8")
        either = np.logical_or(differ[0], differ[1], out=differ[0])
        either[-1] = True  # the frame is a run too, so there always is one
        last = np.flatnonzero(either)
        stop = last + 1
        length = stop.copy()
        length[1:] -= stop[:-1]
        return Runs(labels[0].take(last), labels[1].take(last), stop, length)
