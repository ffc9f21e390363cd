"""Training augmentation: one random window per crop, and the same window for image, mask and features."""

from dataclasses import dataclass
from random import Random

from torch import Tensor

from dhr.core.colour import draw_jitter
from dhr.core.labels import IGNORE
from dhr.core.window import Window


def keyed_random(*key: object) -> Random:
    """Random numbers that depend on `key` alone: not on order, worker, rank or what ran before."""
    return Random(repr(key))


@dataclass(frozen=True)
class Crop:
    """A cut image: (3,H,W) uint8 RGB, (H,W) uint8 mask, where it was cut, and the colour jitter still to be applied.

    `jitter` holds the numbers of `draw_jitter`, None without colour jitter.
    """

    pixels: Tensor
    mask: Tensor
    window: Window
    jitter: Tensor | None


@dataclass(frozen=True)
class TrainTransform:
    """Resize, flip, random crop with padding at a random place. Colours are left to the batch, on its device.

    Attributes:
        crop_size: side of the square canvas, pixels.
        long_side: range of the longer image side after the resize, pixels.
        flip: probability of a left-right flip.
        jitter: strengths of brightness, contrast, saturation and hue jitter, for which numbers are drawn here.
    """

    crop_size: int
    long_side: tuple[int, int]
    flip: float
    jitter: tuple[float, float, float, float]

    def __call__(self, pixels: Tensor, mask: Tensor, random: Random) -> Crop:
        """Cuts (3,H,W) uint8 RGB and a (H,W) uint8 mask of the same size."""
        from torchvision.transforms.v2 import functional  # seconds, which only trainings have; Lightning imported it

        window = self.draw((mask.shape[-2], mask.shape[-1]), random)
        resized = functional.resize(pixels, list(window.scaled), functional.InterpolationMode.BICUBIC, antialias=True)
        return Crop(
            pixels=window.paste(resized, 0),
            mask=window.paste_labels(mask, IGNORE),
            window=window,
            jitter=draw_jitter(self.jitter, random) if any(self.jitter) else None,
        )

    def draw(self, size: tuple[int, int], random: Random) -> Window:
        """A random window for an image of `size` (height, width)."""
        factor = random.randint(*self.long_side) / max(size)
        scaled = (max(round(size[0] * factor), 1), max(round(size[1] * factor), 1))
        flip = random.random() < self.flip
        (top, height, down), (left, width, right) = (_cut(length, self.crop_size, random) for length in scaled)
        return Window(
            scaled=scaled,
            flip=flip,
            source=(top, left, height, width),
            place=(down, right),
            canvas=(self.crop_size, self.crop_size),
        )


def _cut(length: int, canvas: int, random: Random) -> tuple[int, int, int]:
    """Along one axis, in pixels: start and length of the part that is cut out, and its start on the canvas."""
    if length >= canvas:
        return random.randint(0, length - canvas), canvas, 0
    return 0, length, random.randint(0, canvas - length)
