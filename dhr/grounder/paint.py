"""From instances to a mask: the better one lies above the worse one."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dhr.core.errors import InputError
from dhr.grounder.interface import NOTHING, Finder, Found, Task
from dhr.runtime.memory import first_that_fits

INSIDE = 0.5  # a pixel belongs to an instance where that is likelier than not
OPEN = -1  # no instance yet
log = logging.getLogger("dhr.ground")


def mask_of(
    finder: Finder, task: Task, image_id: str, pixels: Tensor, labels: Sequence[int], device: torch.device
) -> Tensor:
    """(H,W) uint8 mask of an image; on the CPU, where memory of the device runs out.

    Args:
        finder: that looks at the image.
        task: that it was opened for.
        image_id: of the image.
        pixels: (3,H,W) uint8 RGB.
        labels: of the classes that may be found, rising. Without any, all of the image is background; all classes are
            looked for where the data set has none.
        device: where to work.

    Raises:
        InputError: nothing was found in an image of a data set without background, so no label could be given; or the
            masks are no numbers.
    """
    asked = labels or ([] if task.first else [*task.words])

    def at_work(place: torch.device) -> Tensor:
        found = finder(image_id, pixels, asked, place) if asked else NOTHING
        if found.likeliest is None and not task.first:
            raise InputError(
                f"{image_id}: nothing was found in it, and without a background class every pixel needs a label; "
                "give it a box of its likeliest class"
            )
        sound = replace(found, masks=_sound(found.masks, image_id))
        return paint(sound, (pixels.shape[1], pixels.shape[2]), background=0 if task.first else None).cpu()

    ways = [("", lambda: at_work(device))]
    if device.type != "cpu":
        ways.append(("on the CPU, for lack of memory", lambda: at_work(torch.device("cpu"))))
    how, mask = first_that_fits(ways)
    if how:
        log.info(f"{image_id}: {pixels.shape[1]} x {pixels.shape[2]} pixels {how}")
    return mask


def _sound(masks: Iterable[Tensor], image_id: str) -> Iterator[Tensor]:
    for probabilities in masks:
        if not bool(torch.isfinite(probabilities).all()):
            raise InputError(f"{image_id}: its masks are no numbers; are the weights of the model sound?")
        yield probabilities


def paint(found: Found, size: tuple[int, int], *, background: int | None) -> Tensor:
    """The mask of instances: a pixel has the label of the best-scored instance that it lies inside.

    Elsewhere is background. Where the data set has none, a pixel takes the label of the instance with the largest
    product of score and probability there, or the likeliest one of the image where there is no instance.

    Args:
        found: the instances.
        size: (height, width) of the image.
        background: label of the background, None where there is none; then `found.likeliest` has to be known.

    Returns:
        (H,W) uint8.
    """
    device = found.labels.device
    mask = torch.full(size, OPEN, dtype=torch.int64, device=device)
    rest = torch.full(size, (found.likeliest or 0) if background is None else background, device=device)
    most = torch.full(size, -1.0, device=device)
    start = 0
    for probabilities in found.masks:
        labels, scores = (values[start : start + len(probabilities)] for values in (found.labels, found.scores))
        start += len(probabilities)
        inside = probabilities > INSIDE
        first = inside.to(torch.uint8).argmax(0)  # of equals argmax gives the first, which is the best
        mask = torch.where(inside.any(0) & (mask == OPEN), labels[first], mask)
        if background is None:
            products = probabilities * scores[:, None, None]
            largest = products.argmax(0)
            product = products.gather(0, largest[None])[0]
            rest = torch.where(product > most, labels[largest], rest)
            most = torch.maximum(product, most)
    return torch.where(mask == OPEN, rest, mask).to(torch.uint8)
