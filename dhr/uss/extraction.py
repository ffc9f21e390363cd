"""Images to features at the speed of the model: images are decoded ahead of it, files are written behind it."""

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

READERS, WRITERS = 4, 2  # threads: decoding and writing release the interpreter's lock
AHEAD = 8  # images decoded before the model needs them; with IN_FLIGHT this bounds the memory
IN_FLIGHT = 8  # features made and not yet on disk
log = logging.getLogger("dhr.extract_uss")


@dataclass(frozen=True)
class ExtractionModel:
    """The features that are stored of an image.

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
        """(3,H,W) uint8 -> (D,h,w) fp16 on `device`; the host does not wait for the device."""
        image = normalise(pixels.to(self.device, non_blocking=True))
        features = multi_scale_features(self.extractor, image[None], scales=self.scales, flip=self.flip)[0]
        return (features if self.basis is None else self.basis.project(features)).to(torch.float16)


def extract_all(
    features: ExtractionModel,
    ids: Sequence[str],
    pixels: Callable[[str], Tensor],
    keep: Callable[[str, Tensor], None],
    *,
    writers: int = WRITERS,
) -> Iterator[str]:
    """Computes the features of every image and hands them to `keep`; yields each id when its features are computed.

    Args:
        features: the model.
        ids: of the images.
        pixels: reads one, (3,H,W) uint8; called ahead, in other threads.
        keep: takes the features of one, (D,h,w) fp16 on the CPU; called in other threads. When this function has
            ended, also by an error, all calls are done.
        writers: threads that call `keep`; with one, the calls are in the order of the ids.
    """
    device = features.device
    on_accelerator = device.type != "cpu"

    def read(image_id: str) -> Tensor:
        # From page-locked memory, a copy to the device runs beside the model.
        return pixels(image_id).pin_memory() if on_accelerator else pixels(image_id)

    def write(image_id: str, values: Tensor, copied: torch.cuda.Event | None) -> None:
        if copied is not None:
            copied.synchronize()
        keep(image_id, values)

    writing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(writers) as behind:
        for image_id, image in _decoded(readers, ids, read):
            values = features(image)
            for note in features.extractor.take_notes():
                log.warning(f"{image_id}: did not fit into memory: {note}")
            values = values.to("cpu", non_blocking=True)
            copied = torch.cuda.current_stream(device).record_event() if on_accelerator else None
            writing.append(behind.submit(write, image_id, values, copied))
            if len(writing) > IN_FLIGHT:
                writing.popleft().result()
            yield image_id
        while writing:
            writing.popleft().result()


def _decoded(
    readers: ThreadPoolExecutor, ids: Sequence[str], pixels: Callable[[str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Ids and images in order, `AHEAD` of them read at a time; images that nobody asks for are not read."""
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
