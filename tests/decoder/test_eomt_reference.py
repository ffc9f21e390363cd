"""EoMT against the public models of transformers, with the same weights."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from eomt_networks import BLOCKS, CLASSES, DEPTH, EMBED, HEADS, QUERIES, image, labels_of, network
from torch import Tensor, nn
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
)

from dhr.decoder.mask2former_loss import MaskLoss
from dhr.network.segmentation import SegmentationNetwork

PUBLIC = {
    "dinov2": (EomtConfig, EomtForUniversalSegmentation, {"mlp_ratio": 4}),
    "dinov3": (
        *(EomtDinov3Config, EomtDinov3ForUniversalSegmentation),
        {"intermediate_size": 4 * EMBED, "query_bias": False, "value_bias": False, "layer_norm_eps": 1e-5},
    ),
}
RENAMED = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.patch_embeddings": "patch_embed.proj",
    "layernorm": "norm",
    "layers": "blocks",
    "attention.o_proj": "attn.proj",
    "attention.out_proj": "attn.proj",
    "mlp.up_proj": "mlp.fc1",
    "mlp.down_proj": "mlp.fc2",
}
HEADS_OF = ("query.", "class_predictor.", "mask_head.", "upscale_block.")


def public_model(family: str) -> Any:
    config, model, options = PUBLIC[family]
    torch.manual_seed(0)
    made = model(
        config(
            hidden_size=EMBED, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=64, patch_size=16,
            num_blocks=BLOCKS, num_queries=QUERIES, num_labels=CLASSES, **options,
        )
    ).eval()  # fmt: skip
    for weight in made.parameters():
        nn.init.normal_(weight, 0.0 if weight.ndim > 1 else 1.0, 0.3)
    return made


def body_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the transformer in a public model, by timm's names."""
    body = {}
    for name, value in weights.items():
        for theirs, ours in RENAMED.items():
            name = name.replace(theirs, ours)
        body[name] = value
    rotary = "embeddings.position_embeddings.weight" not in body
    if not rotary:
        body["pos_embed"] = body.pop("embeddings.position_embeddings.weight")[None]
    for block in (f"blocks.{number}." for number in range(DEPTH)):
        for kind in ("weight",) if rotary else ("weight", "bias"):
            parts = [body.pop(f"{block}attention.{each}_proj.{kind}") for each in "qkv"]
            body[f"{block}attn.qkv.{kind}"] = torch.cat(parts)
        for scale in (1, 2):
            ours = f"{block}gamma_{scale}" if rotary else f"{block}ls{scale}.gamma"
            body[ours] = body.pop(f"{block}layer_scale{scale}.lambda1")
    return body


def of_public(model: Any, family: str) -> SegmentationNetwork:
    """Our network with the weights of a public model, every one of them."""
    net, left = network(family).eval(), ("attn_mask_probs", "criterion.empty_weight")
    weights = {name: value for name, value in model.state_dict().items() if name not in left}
    head = {name: weights.pop(name) for name in [*weights] if name.startswith(HEADS_OF)}
    net.backbone.layers.set_input_size((64, 64))
    net.backbone.layers.load_state_dict(body_of(weights), strict=True)
    net.decoder.load_state_dict({**head, "unmasked": net.decoder.unmasked}, strict=True)
    return net


@pytest.mark.parametrize("family", sorted(PUBLIC))
@pytest.mark.parametrize("unmasked", range(BLOCKS + 1))
def test_it_is_the_public_model(family: str, unmasked: int) -> None:
    """Same classes, masks and tokens from the same weights, while masks are on in some blocks, in all and in none."""
    model, picture = public_model(family), image()
    net = of_public(model, family)
    net.decoder.unmasked.fill_(unmasked)
    model.attn_mask_probs.copy_(torch.arange(BLOCKS) >= unmasked)
    with torch.no_grad():
        said, ours = model(picture), net(picture)
    assert len(ours.queries) == BLOCKS - unmasked + 1
    torch.testing.assert_close(ours.queries[-1].classes, said.class_queries_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.queries[-1].masks, said.masks_queries_logits, atol=1e-4, rtol=1e-4)
    patches = said.last_hidden_state[:, -16:].mT.unflatten(2, (4, 4))
    torch.testing.assert_close(ours.features[1], patches, atol=1e-4, rtol=1e-4)


def test_masks_make_a_difference() -> None:
    """Else the comparison above would not show how they are applied."""
    net, answers = network().eval(), []
    for unmasked in range(BLOCKS + 1):
        net.decoder.unmasked.fill_(unmasked)
        with torch.no_grad():
            answers.append(net(image()).queries[-1].masks)
    for one, other in pairwise(answers):
        assert float((one - other).abs().max()) > 0.01


def test_training_predicts_before_every_block_as_the_public_model() -> None:
    """In training all layers are supervised; the loss of the public model is the sum over them."""
    model, picture = public_model("dinov2"), image()
    net = of_public(model, "dinov2").train()
    heard: list[tuple[Tensor, Tensor]] = []
    own = model.predict
    model.predict = lambda tokens: heard.append(own(tokens)) or heard[-1]
    with torch.no_grad():
        model(picture)
        queries = net(picture).queries
    assert len(queries) == len(heard) == BLOCKS + 1
    for said, (masks, classes) in zip(queries, heard, strict=True):
        torch.testing.assert_close(said.masks, masks, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(said.classes, classes, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(PUBLIC))
def test_loss_and_gradients_are_those_of_the_public_model(family: str) -> None:
    """Without 255: summed over all layers, at the same random points."""
    model, picture, labels = public_model(family), image(), labels_of()
    net = of_public(model, family).train()
    labels[:, :9] = labels[:, 9:18]
    model.train()
    model.rope_embeddings = getattr(model, "rope_embeddings", nn.Identity()).eval()  # in training it stretches places
    net.decoder.criterion = MaskLoss()
    present = [each.long().unique() for each in labels]
    masks = [(each == classes[:, None, None]).float() for each, classes in zip(labels, present, strict=True)]
    torch.manual_seed(0)
    expected = model(picture, mask_labels=masks, class_labels=present).loss
    output = net(picture)
    torch.manual_seed(0)
    loss = net.decoder.loss(output, labels)
    torch.testing.assert_close(loss, expected)
    ours = (net.decoder.query.weight, net.decoder.upscale_block.block[0].conv1.weight, net.backbone.layers.cls_token)
    theirs = (model.query.weight, model.upscale_block.block[0].conv1.weight, model.embeddings.cls_token)
    for one, other in zip(torch.autograd.grad(loss, ours), torch.autograd.grad(expected, theirs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
