"""Colours of a batch on any device: jitter with its own random numbers for each image, and normalisation.

Nothing here waits for the device: every shape is known beforehand, and no number is copied to the device or read
from it.
"""

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0,1]
STD = (0.229, 0.224, 0.225)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # places of the four in strengths and numbers


def normalise(pixels: Tensor) -> Tensor:
    """(...,3,H,W) uint8 RGB -> float32, of mean 0 and standard deviation 1 per channel over the pixels of ImageNet.

    >>> normalise(torch.tensor([124, 116, 104], dtype=torch.uint8).view(3, 1, 1)).flatten()  # nearly the mean colour
    tensor([ 0.0056, -0.0049,  0.0082])
    """
    # With plain numbers: torchvision's normalize copies them to the device as tensors, and waits for it.
    image = pixels.to(torch.float32).mul_(1 / 255)
    for plane, mean, std in zip(image.unbind(-3), MEAN, STD, strict=True):
        plane.sub_(mean).div_(std)
    return image


def draw_jitter(strengths: Sequence[float], random: Random) -> Tensor:
    """(7) numbers for one image, drawn from the ranges of torchvision's ColorJitter.

    Args:
        strengths: of brightness, contrast, saturation and hue. The first three give factors in [max(0, 1 - s), 1 + s],
            the hue turns by [-s, s], where 1 is the whole circle; 0 leaves things as they are.
        random: where the numbers come from.

    Returns:
        The four numbers, then the order in which the first three are applied.

    >>> draw_jitter((0.0, 0.0, 0.0, 0.0), Random(0))[:4]
    tensor([1., 1., 1., 0.])
    """
    factors = [random.uniform(max(1 - strength, 0.0), 1 + strength) for strength in strengths[:HUE]]
    turn = random.uniform(-strengths[HUE], strengths[HUE])
    return torch.tensor([*factors, turn, *random.sample(range(HUE), HUE)])


def jitter(pixels: Tensor, valid: Tensor, numbers: Tensor, *, hue: bool) -> Tensor:
    """Changes brightness, contrast and saturation in the order drawn for each image, then the hue.

    The result equals that of torchvision's adjust_brightness, adjust_contrast, adjust_saturation and adjust_hue on
    the `valid` part alone, but is computed in float32 and rounded once, at the end. Each of the first three mixes
    factor * picture + (1 - factor) * other and clamps to [0,255]; the other picture is black, the mean grey of the
    image, or the image in grey.

    Args:
        pixels: (B,3,H,W) uint8 RGB, 0 outside `valid`.
        valid: (B,H,W) bool, what shows image; an image without such a pixel stays black.
        numbers: (B,7) of `draw_jitter`.
        hue: whether hues turn. This takes most of the time, so leave it out where no image turns its hue.

    Returns:
        (B,3,H,W) uint8, 0 outside `valid`.

    >>> pixels = torch.tensor([10, 60, 200, 0], dtype=torch.uint8).expand(1, 3, 1, 4)
    >>> twice_as_bright = torch.tensor([[2.0, 1.0, 1.0, 0.0, 0.0, 1.0, 2.0]])
    >>> jitter(pixels, torch.tensor([[[True, True, True, False]]]), twice_as_bright, hue=False)[0, 0].tolist()
    [[20, 120, 255, 0]]
    """
    values = pixels.to(torch.float32)
    shown, area = valid.to(torch.float32), valid.sum((1, 2)).clamp_min(1)
    for turn in numbers[:, HUE + 1 :].unbind(1):
        factor = numbers.gather(1, turn.long()[:, None])[:, 0]
        red, green, blue = values.unbind(1)
        grey = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)  # torchvision's rgb_to_grayscale
        # Rows first, then their sums: so the neighbours in the batch have no influence on the order of addition.
        mean = (grey * shown).sum(2).sum(1) / area
        own, constant = (1 - factor) * (turn == SATURATION), (1 - factor) * mean * (turn == CONTRAST)
        other = grey.mul_(own[:, None, None]).add_(constant[:, None, None])
        torch.addcmul(other[:, None], values, factor[:, None, None, None], out=values).clamp_(0, 255)
    if hue:
        turn_hues(values, numbers[:, HUE])
    return values.round_().to(torch.uint8).mul_(valid[:, None])


def turn_hues(values: Tensor, turns: Tensor) -> None:
    """Turns the hues of (B,3,H,W) RGB in place, by a share `turns` (B) of the circle; the range of values is free.

    A hue is a place on a circle of six sectors: red lies at 0, green at 2, blue at 4. A channel has the largest value
    within one sector around its place, the smallest from two sectors on, and a mixture between (A. R. Smith, Color
    gamut transform pairs, 1978). Grey stays grey.

    >>> values = torch.tensor([[255.0, 0.0, 0.0], [80.0, 80.0, 80.0]])[:, :, None, None]  # red; grey
    >>> turn_hues(values, torch.tensor([1 / 3, 1 / 3]))
    >>> values.flatten(1).round()  # green; grey
    tensor([[  0., 255.,   0.],
            [ 80.,  80.,  80.]])
    """
    red, green, blue = values.unbind(1)
    top, low = values.amax(1), values.amin(1)
    span = top - low
    # The place times the span, as it is where the largest channel is blue, else green, else red.
    place = (red - green).add_(span, alpha=4)
    other = (blue - red).add_(span, alpha=2)
    torch.where(green == top, other, place, out=place)
    torch.sub(green, blue, out=other)
    torch.where(red == top, other, place, out=place)
    torch.clamp(span, min=torch.finfo(span.dtype).tiny, out=other)
    place.div_(other).add_(6 * turns[:, None, None]).remainder_(6)
    # Of the span, red has abs(place - 3) - 1, green 2 - abs(place - 2), blue 2 - abs(place - 4), each within 0 and 1.
    share = other
    for channel, (opposite, sign, start) in zip((red, green, blue), ((3, 1, -1), (2, -1, 2), (4, -1, 2)), strict=True):
        torch.sub(place, opposite, out=share).abs_().mul_(sign).add_(start).clamp_(0, 1)
        torch.addcmul(low, span, share, out=channel)
