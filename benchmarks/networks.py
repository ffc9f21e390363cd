"""Memory and time of a training step, per backbone and decoder (forward, both losses, backward), and of an answer.

Usage: python benchmarks/networks.py [side of the images] [backbone ...]
Writes networks.json beside this file. Memory is what the graph keeps for the backward pass, weights left out; on a GPU
the peak of the allocator is told, too. The numbers of one run were taken on one machine, one after the other.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from measuring import best_of, photographs
from run import hardware
from torch import Tensor

from dhr.config.compose import compose
from dhr.core.colour import normalise
from dhr.dataset.classes import load_classes
from dhr.network.segmentation import SegmentationNetwork
from dhr.stage.parts import build_network

BATCH, ROUNDS, SIDE = 2, 2, 128
TABLE = load_classes("voc")
DECODERS = ("deeplabv1", "deeplabv2", "deeplabv3plus", "mask2former")
BACKBONES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet38"),
    *("swin_tiny", "swin_base", "swin_large", "vit_small", "vit_base", "efficientnet_lite0"),
)
PAIRS = [
    *((backbone, "mask2former" if backbone.startswith("swin") else "deeplabv3plus", ()) for backbone in BACKBONES),
    *(("resnet101", decoder, ()) for decoder in DECODERS if decoder != "deeplabv3plus"),
    ("efficientnet_lite0", "deeplabv3plus_small", ()),
    ("swin_large", "mask2former", ("backbone.gradient_checkpointing=true",)),
]


@dataclass(frozen=True)
class Step:
    """One line of the table.

    Attributes:
        backbone: option.
        decoder: option.
        words: what else was set.
        parameters: in millions.
        kept: MiB of activations that wait for the backward pass.
        seconds: of a step, in float32, weights contiguous.
        channels_last: seconds of a step where the network's weights lie channels last.
        answer: seconds of a forward pass in eval mode, weights contiguous.
        answer_last: the same, channels last.
        peak: MiB, largest allocation on the GPU; None without one.
    """

    backbone: str
    decoder: str
    words: tuple[str, ...]
    parameters: float
    kept: float
    seconds: float
    channels_last: float
    answer: float
    answer_last: float
    peak: float | None


def measure(backbone: str, decoder: str, words: tuple[str, ...], side: int) -> Step:
    """Builds the network from random weights and takes its steps on photographs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = [f"backbone={backbone}", f"decoder={decoder}", "backbone.weights=null", *words]
    networks = [
        build_network(compose("train", ["dataset=voc", *chosen, f"channels_last={last}"]), TABLE).to(device).train()
        for last in ("false", "true")
    ]
    pixels, masks = photographs(BATCH, side)
    steps = [step_of(network, normalise(pixels).to(device), masks.to(device)) for network in networks]
    kept = activations(networks[0], steps[0])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps[1]()
    seconds, last = best_of(ROUNDS, *steps)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    parameters = sum(each.numel() for each in networks[0].parameters()) / 1e6
    answers = (answer_of(network.eval(), normalise(pixels).to(device)) for network in networks)
    answer, answer_last = best_of(ROUNDS, *answers)
    return Step(backbone, decoder, words, parameters, kept, seconds, last, answer, answer_last, peak)


def step_of(network: SegmentationNetwork, images: Tensor, masks: Tensor) -> Callable[[], None]:
    """A training step without the optimizer."""
    valid, tags = torch.ones_like(masks, dtype=torch.bool), torch.eye(TABLE.num_tags, device=images.device)[:BATCH]

    def step() -> None:
        output = network(images)
        (network.decoder.loss(output, masks) + network.classifier.loss(output, valid, tags)).backward()
        network.zero_grad(set_to_none=True)
        if images.is_cuda:
            torch.cuda.synchronize()

    return step


def answer_of(network: SegmentationNetwork, images: Tensor) -> Callable[[], None]:
    """A forward pass, as masks are made with."""

    @torch.no_grad()
    def answer() -> None:
        network(images)
        if images.is_cuda:
            torch.cuda.synchronize()

    answer()
    return answer


def activations(network: SegmentationNetwork, step: Callable[[], None]) -> float:
    """MiB of distinct tensors that a step keeps for its backward pass and that are no weights."""
    weights = {each.untyped_storage().data_ptr() for each in network.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # else the allocator would give the same address twice

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        step()
    return sum(kept.values()) / 2**20


def main() -> int:
    """Measures, prints, writes."""
    side = int(sys.argv[1]) if len(sys.argv) > 1 else SIDE
    chosen = sys.argv[2:] or list(BACKBONES)
    made = [measure(*pair, side) for pair in PAIRS if pair[0] in chosen]
    facts = {**hardware(), "side": side, "batch": BATCH, "precision": "float32"}
    text = json.dumps({"hardware": facts, "steps": [asdict(each) for each in made]}, indent=1)
    (Path(__file__).parent / "networks.json").write_text(text + "\n")
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    for each in made:
        named = " ".join([f"{each.backbone:14} {each.decoder:14}", *each.words])
        peak = "GPU not measured" if each.peak is None else f"peak {each.peak:.0f} MiB"
        print(
            f"{named} {each.parameters:7.1f} M  kept {each.kept:7.0f} MiB  step {each.seconds:7.3f} s  "
            f"channels last {each.channels_last:7.3f} s  answer {each.answer:7.3f} s  channels last "
            f"{each.answer_last:7.3f} s  {peak}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
