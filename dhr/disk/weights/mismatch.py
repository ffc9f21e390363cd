"""Why weights do not fit a network, guessed from the names and shapes of both.

The output stride and the dilation leave no trace in either, but for ResNets of equal widths, whose shortcuts are only
convolutions where the stride asks for it: weights that fit may still have been trained with others.
"""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]
RESNETS: dict[tuple[tuple[int, ...], bool], str] = {  # blocks per stage, and whether they are bottlenecks
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
TRANSFORMERS = {  # part of a name that only this family has, and its options by the width of the tokens
    "relative_position_bias_table": {96: "swin_tiny", 128: "swin_base", 192: "swin_large"},
    ".ls1.gamma": {384: "dinov2_small", 768: "dinov2_base", 1024: "dinov2_large"},
    ".gamma_1": {384: "dinov3_small", 768: "dinov3_base", 1024: "dinov3_large"},
    ".attn.qkv.": {96: "vit_toy", 384: "vit_small", 768: "vit_base"},
}
DECODERS = {
    "decoder.pyramid.": "deeplabv3plus",
    "decoder.field.": "deeplabv1",
    "decoder.branches.": "deeplabv2",
    "decoder.layers.": "mask2former",
    "decoder.query.": "eomt",
}
LAST = {  # layers with one output per class, and how many more outputs they have
    "decoder.classifier.weight": 0,
    "decoder.branches.0.weight": 0,
    "decoder.layers.class_predictor.weight": 1,
    "decoder.class_predictor.weight": 1,
    "classifier.projection.weight": 0,
}


def likely_causes(own: Weights, found: Weights) -> str:
    """How the network that `found` belongs to differs from this one, in words, with the settings to change."""
    causes = [*_other_options(own, found), *_other_classes(own, found)]
    if not causes:
        changed = {name.partition(".")[0] for name in own.keys() & found.keys() if own[name].shape != found[name].shape}
        cure = "set those that it was trained with"
        causes = [f"the same kind of {part} with other widths: {cure}" for part in sorted(changed)]
    if not causes and all(".downsample." in name for name in own.keys() ^ found.keys() if "num_batches" not in name):
        return "another backbone.output_stride"
    return "; ".join(causes) or "are these the weights of another program?"


def _other_options(own: Weights, found: Weights) -> Iterator[str]:
    for group, option in (("backbone", _backbone), ("decoder", _decoder), ("classifier", _classifier)):
        theirs, ours = option(found), option(own)
        if theirs is not None and ours is not None and theirs != ours:
            yield f"it looks like {group}={theirs}, this is {group}={ours}"


def _other_classes(own: Weights, found: Weights) -> Iterator[str]:
    for name, more in LAST.items():
        if name in own and name in found and own[name].shape[0] != found[name].shape[0]:
            theirs, ours = found[name].shape[0] - more, own[name].shape[0] - more
            yield f"it has {theirs} classes in {name.removesuffix('.weight')}, this has {ours}: name its dataset="


def _backbone(weights: Weights) -> str | None:
    if any(name.endswith("conv1a.weight") for name in weights):
        return "wide_resnet38"
    tokens = next((value for name, value in weights.items() if name.endswith("patch_embed.proj.weight")), None)
    if tokens is not None:
        width = tokens.shape[0]
        known = (found for part, found in TRANSFORMERS.items() if any(part in name for name in weights))
        options = next(known, {})
        kind = next(iter(options.values()), "transformer").partition("_")[0]
        return options.get(width, f"{kind} of width {width}")
    if any(re.search(r"(?:^|\.)(?:conv_stem|stages\.\d+)\.", name) for name in weights):
        return "timm"  # by another backbone.name perhaps: EfficientNets, MobileNets, ConvNeXts
    matches = [re.search(r"(?:^|\.)layer([1-4])\.(\d+)\.conv([123])\.", name) for name in weights]
    blocks = [(int(match[1]), int(match[2]), match[3]) for match in matches if match]
    stages = [1 + max((block for stage, block, _ in blocks if stage == number), default=-1) for number in (1, 2, 3, 4)]
    return RESNETS.get((tuple(stages), any(convolution == "3" for *_, convolution in blocks)))


def _decoder(weights: Weights) -> str | None:
    return next((option for start, option in DECODERS.items() if any(name.startswith(start) for name in weights)), None)


def _classifier(weights: Weights) -> str | None:
    """The classifier option; None for weights without a decoder, which are no whole network."""
    if _decoder(weights) is None:
        return None
    return "cam" if "classifier.projection.weight" in weights else "none"
