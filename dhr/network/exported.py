"""A network as one file that other programs run, and such a file opened again to be compared with the network."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dhr.backbone.timm_network import padded_as_written_short
from dhr.core.cells import Size
from dhr.core.colour import MEAN, STD
from dhr.core.errors import InputError
from dhr.decoder.any_size import sizes_left_open
from dhr.disk.weights.onnx_file import onnx_session
from dhr.network.memory_order import laid_out
from dhr.network.segmentation import SegmentationNetwork
from dhr.network.weights import CELLS

INPUT, OUTPUTS = "image", ("logits", "probabilities")
EXAMPLE = (2, 3, 97, 130)  # traced with; neither side is a multiple of a stride
NEEDED = ("onnx", "onnxscript", "onnxruntime")
Answer = tuple[Tensor, Tensor]  # logits (B,K,h,w) and probabilities (B,K,H,W)
Answering = Callable[[Tensor], Answer]


class Exportable(nn.Module):
    """What an export computes: the network without its classifier, which only training asks."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.backbone, self.decoder, self.cells = network.backbone, network.decoder, network.cells

    def forward(self, image: Tensor) -> Answer:
        """(B,3,H,W) normalised -> logits (B,K,h,w) at the decoder's stride, probabilities (B,K,H,W) that sum to 1."""
        _, decoded = self.decoder.decode(self.backbone, image)
        logits = decoded.logits.float()
        size = (image.shape[-2], image.shape[-1])
        return logits, self.cells.on_image(logits.softmax(1), size, stride=self.decoder.stride)


class Format(Protocol):
    """A kind of file."""

    def encode(self, network: SegmentationNetwork, texts: Mapping[str, str], size: Size | None) -> bytes:
        """The file; `texts` go into its metadata, `size` None means images of any size."""
        ...

    def opened(self, content: bytes, network: SegmentationNetwork) -> Answering:
        """What the file computes; `network` lends its code to files of weights alone."""
        ...


class Safetensors:
    """Weights under our names, with the description that builds the network for them."""

    def encode(self, network: SegmentationNetwork, texts: Mapping[str, str], size: Size | None) -> bytes:
        """See `Format`."""
        weights = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
        return save(weights, {"format": "pt", **texts})

    def opened(self, content: bytes, network: SegmentationNetwork) -> Answering:
        """See `Format`: a copy of the network, its own weights forgotten."""
        copy = deepcopy(network)
        for value in copy.state_dict().values():
            value.zero_()
        copy.load_state_dict(load(content), strict=True)
        return Exportable(copy).eval()


class TorchExport:
    """A program of torch.export, `*.pt2`, which runs without this package."""

    def encode(self, network: SegmentationNetwork, texts: Mapping[str, str], size: Size | None) -> bytes:
        """See `Format`."""
        buffer = io.BytesIO()
        torch.export.save(traced(network, size), buffer, extra_files=dict(texts))
        return buffer.getvalue()

    def opened(self, content: bytes, network: SegmentationNetwork) -> Answering:
        """See `Format`."""
        program: Answering = torch.export.load(io.BytesIO(content)).module()
        return program


class Onnx:
    """An ONNX file, its weights inside."""

    def encode(self, network: SegmentationNetwork, texts: Mapping[str, str], size: Size | None) -> bytes:
        """See `Format`.

        Raises:
            InputError: a package is not installed, or ONNX has no word for a layer.
        """
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            cure = f"pip install {' '.join(missing)}, or all of them with pip install dhr[export]"
            raise InputError(f"format: onnx: needs {', '.join(missing)}, which is not installed; {cure}")
        with _quiet():
            program = torch.onnx.export(
                traced(network, size), dynamo=True, input_names=[INPUT], output_names=[*OUTPUTS], verbose=False
            )
        if program is None:
            raise ValueError("torch.onnx.export returned nothing")
        model = program.model_proto
        for key, text in texts.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        return model.SerializeToString()

    def opened(self, content: bytes, network: SegmentationNetwork) -> Answering:
        """See `Format`: run by onnxruntime on the CPU."""
        return answering(content)


FORMATS: Mapping[str, Format] = {"safetensors": Safetensors(), "torch_export": TorchExport(), "onnx": Onnx()}


def answering(model: bytes | Path) -> Answering:
    """What an ONNX file computes, by onnxruntime on the CPU.

    Raises:
        InputError: no whole file, or onnxruntime is not installed.
    """
    session = onnx_session(model, threads=torch.get_num_threads())

    def answer(image: Tensor) -> Answer:
        logits, probabilities = session.run([*OUTPUTS], {INPUT: image.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(probabilities)

    return answer


def is_alone(network: SegmentationNetwork, size: Size | None) -> bool:
    """Whether a program sees one image at a time."""
    return size is not None or network.decoder.exported_alone


def traced(network: SegmentationNetwork, size: Size | None) -> ExportedProgram:
    """The network as a graph, for batches of images of any size, or for one image of the size (height, width).

    Its weights are contiguous afterwards: the order in memory would become part of the graph, and with channels last
    a batch of one image another case than that of several.
    """
    batches, alone = {0: Dim.AUTO}, is_alone(network, size)
    free = {} if size is not None else {2: Dim.AUTO, 3: Dim.AUTO} | ({} if alone else batches)
    example = torch.zeros(1 if alone else EXAMPLE[0], 3, *(size or EXAMPLE[2:]))
    # Sizes are told apart only where they have to be, so that no guard says "unless the image is a multiple of 4".
    oblivious = import_module("torch.fx.experimental._config").patch(backed_size_oblivious=True)
    with torch.no_grad(), oblivious, padded_as_written_short(), sizes_left_open(), _quiet():
        whole = Exportable(laid_out(network, channels_last=False)).eval()
        return torch.export.export(whole, (example,), dynamic_shapes=(free,))


def largest_difference(found: Answer, due: Answer) -> float:
    """Largest difference of two answers, logits in units of the largest logit where that is above 1.

    Infinite where shapes differ or a number is not finite.
    """
    largest = 0.0
    for ours, theirs in zip(found, due, strict=True):
        if ours.shape != theirs.shape:
            return float("inf")
        difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1))
        largest = max(largest, difference if difference == difference else float("inf"))
    return largest


def in_words(network: SegmentationNetwork, size: Size | None, *, alone: bool) -> dict[str, Any]:
    """What goes into an export and comes out of it, for its metadata; `alone`: one image at a time."""
    batch = "1" if alone else "B"
    sides = "H,W" if size is None else f"{size[0]},{size[1]}"
    cells = next(word for word, cells in CELLS.items() if cells == network.cells)
    return {
        "input": {
            "name": INPUT,
            "shape": f"({batch},3,{sides}) float32",
            "meaning": "RGB from 0 to 1, less mean, divided by std, for each channel",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "outputs": {
            OUTPUTS[0]: f"({batch},K,h,w) float32, before the soft-max, one cell for {network.decoder.stride} pixels",
            OUTPUTS[1]: f"({batch},K,{sides}) float32, summing to 1 over the classes",
        },
        "stride": network.decoder.stride,
        "cells": cells,
    }


def as_text(value: object) -> str:
    """JSON, in one line."""
    return json.dumps(value, sort_keys=False)


@contextmanager
def _quiet() -> Any:
    """Without the exporters' own messages, which are about their inner life."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
