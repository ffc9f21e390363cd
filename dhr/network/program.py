"""An ONNX file of `dhr.export` in the place of a network of ours: scales, mirror images and CRF come on top of it."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dhr.classifier.none import NoClassifier
from dhr.core.errors import InputError
from dhr.core.sample import Decoded
from dhr.decoder.interface import Decoder
from dhr.disk.weights.onnx_file import onnx_session
from dhr.network.exported import INPUT, OUTPUTS
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.weights import CELLS


class Pixels(nn.Module):
    """A backbone that hands the image on."""

    channels = (3, 3, 3, 3)
    output_stride = 1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B,3,H,W) four times."""
        return image, image, image, image


class Program(Decoder):
    """Asks onnxruntime, on the CPU.

    Args:
        path: of the file.
        stride: pixels of the image per cell of its logits.

    Raises:
        InputError: no whole file, or onnxruntime is not installed.
    """

    def __init__(self, path: Path, stride: int) -> None:
        super().__init__()
        self.path, self.stride = path, stride
        self.session = onnx_session(path, threads=torch.get_num_threads())
        self.batch, _, *self.size = self.session.get_inputs()[0].shape  # numbers, or names of what is left open

    def forward(self, maps: tuple[Tensor, ...]) -> Decoded:
        """The image (B,3,H,W), normalised -> logits (B,K,h,w) on its device.

        Raises:
            InputError: the file is for images of another size.
        """
        image = maps[0]
        if isinstance(self.size[0], int) and list(image.shape[2:]) != self.size:
            due, found = (" x ".join(map(str, sides)) for sides in (self.size, image.shape[2:]))
            cure = "resize the image and use scales=[1.0], or export the run without size="
            raise InputError(f"{self.path}: is for images of {due} alone, not of {found}; {cure}")
        parts = image.cpu().split(self.batch if isinstance(self.batch, int) else len(image))
        answers = [torch.from_numpy(self.session.run([OUTPUTS[0]], {INPUT: part.numpy()})[0]) for part in parts]
        return Decoded(torch.cat(answers).to(image.device))


def program_network(path: Path, *, stride: int, cells: str) -> SegmentationNetwork:
    """A network that asks the file; stride and cells are those that it states.

    Raises:
        InputError: as for `Program`, or cells that are unknown.
    """
    if cells not in CELLS:
        raise InputError(f"{path}: cells: {cells}: unknown; allowed are {', '.join(CELLS)}; export the run anew")
    network = SegmentationNetwork(Pixels(), Program(path, stride), NoClassifier(3, 0))
    network.cells = CELLS[cells]
    return network
