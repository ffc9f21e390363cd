"""Images to features at the pace of the model: images are decoded ahead, files are written behind."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from dhr.core.colour import normalise
from dhr.network.multi_scale import multi_scale_features
from dhr.uss.pca import Basis
from dhr.uss.tiling import MemoryFallback

READERS, WRITERS = 4, 2  # threads: decoding, and waiting for the disk, leave Python to the others
AHEAD = 8  # images decoded and not yet asked for; with IN_FLIGHT this bounds the memory
IN_FLIGHT = 8  # features made and not yet on disk
log = logging.getLogger("dhr.extract_uss")


@dataclass(frozen=True)
class ExtractionModel:
    """What is stored of an image.

    Attributes:
        extractor: the model, on `device`.
        scales: factors on the image size.
        flip: whether the mirrored image is averaged in.
        device: where the model is.
        basis: what the features are projected on, None to keep all channels.
    """

    extractor: MemoryFallback
    scales: tuple[float, ...]
    flip: bool
    device: torch.device
    basis: Basis | None = None

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """(3,H,W) uint8 -> (D,h,w) fp16 on `device`; the host waits for nothing."""
        image = normalise(pixels.to(self.device, non_blocking=True))
        made = multi_scale_features(self.extractor, image[None], scales=self.scales, flip=self.flip)[0]
        return (made if self.basis is None else self.basis.project(made)).to(torch.float16)


def extract_all(
    features: ExtractionModel,
    ids: Sequence[str],
    pixels: Callable[[str], Tensor],
    keep: Callable[[str, Tensor], None],
    *,
    writers: int = WRITERS,
) -> Iterator[str]:
    """Makes the features of every image and keeps them; yields ids when their features are made.

    Args:
        features: the model.
        ids: of the images.
        pixels: reads one, (3,H,W) uint8; called ahead, in other threads.
        keep: takes the features of one, (D,h,w) fp16 on the CPU; called behind, in other threads. When this function
            has come to its end, or was stopped by an error, all calls are done.
        writers: threads that call `keep`; with one, the calls are in the order of the ids.
    """
    kept: deque[Future[None]] = deque()
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(writers) as behind:
        for image_id, image in _decoded(readers, ids, _pinned(pixels, features.device)):
            made = features(image)
            for note in features.extractor.take_notes():
                log.warning(f"{image_id}: did not fit into memory: {note}")
            kept.append(behind.submit(_keep, keep, image_id, made.to("cpu", non_blocking=True), _mark(features.device)))
            if len(kept) > IN_FLIGHT:
                kept.popleft().result()
            yield image_id
        while kept:
            kept.popleft().result()


def _decoded(
    readers: ThreadPoolExecutor, ids: Sequence[str], pixels: Callable[[str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    source = iter(ids)
    waiting = deque((image_id, readers.submit(pixels, image_id)) for image_id in islice(source, AHEAD))
    try:
        while waiting:
            image_id, image = waiting.popleft()
            waiting.extend((more, readers.submit(pixels, more)) for more in islice(source, 1))
            yield image_id, image.result()
    finally:
        for _, image in waiting:
            image.cancel()


def _pinned(pixels: Callable[[str], Tensor], device: torch.device) -> Callable[[str], Tensor]:
    """From page-locked memory a copy to the device runs beside the model."""
    return pixels if device.type == "cpu" else lambda image_id: pixels(image_id).pin_memory()


def _mark(device: torch.device) -> torch.cuda.Event | None:
    """The point in the device's work at which the copy to the CPU is done."""
    return None if device.type == "cpu" else torch.cuda.current_stream(device).record_event()


def _keep(keep: Callable[[str, Tensor], None], image_id: str, made: Tensor, mark: torch.cuda.Event | None) -> None:
    if mark is not None:
        mark.synchronize()
    keep(image_id, made)
