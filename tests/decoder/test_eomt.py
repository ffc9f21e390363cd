"""EoMT: the fading of the masks, what learns, images of any size, and what does not go together."""

import math

import pytest
import torch
from eomt_networks import CLASSES, DEPTH, EMBED, HEADS, NAMES, QUERIES, decoder, image, labels_of, network
from torch import Tensor, nn

from dhr.backbone.vit import Vit
from dhr.classifier.none import NoClassifier
from dhr.core.errors import InputError
from dhr.core.sample import NetworkOutput
from dhr.decoder.eomt import Eomt
from dhr.decoder.mask2former_loss import MaskLoss
from dhr.disk.weights.mismatch import likely_causes
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork


def test_defaults_are_the_published_decoder() -> None:
    torch.manual_seed(0)
    full = Eomt(
        backbone_channels=(1024,) * 4, output_stride=16, num_classes=150, criterion=MaskLoss(), patch=16
    )  # ADE20K, 512 x 512: 100 queries in 4 blocks
    assert full.query.weight.shape == (100, 1024) and (full.blocks, full.stride, full.annealing) == (4, 4, 0.9)
    assert full.class_predictor.weight.shape == (151, 1024)
    assert float(full.query.weight.detach().std()) == pytest.approx(
        1, abs=0.01
    )  # as nn.Embedding starts, not transformers


PUBLISHED = {  # steps at which masks of each block begin to go and are gone, and steps of the whole training
    4: ([6520, 13040, 19560, 26080], [13040, 19560, 26080, 32600], 39120),  # ADE20K, ViT-L
    3: ([29564, 73910, 118256], [59128, 103474, 147820], 177384),  # COCO, ViT-S and ViT-B
}


@pytest.mark.parametrize("blocks", sorted(PUBLISHED))
def test_masks_go_block_by_block_as_published(blocks: int) -> None:
    begins, ends, steps = PUBLISHED[blocks]
    ours = decoder(blocks=blocks)
    for step in (0, *begins, *(begin + 1 for begin in begins), *(end - 1 for end in ends), *ends, steps // 2, steps):
        ours.advance(step / steps)
        for block, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            share = 1.0 if step < begin else 0.0 if step >= end else (1 - (step - begin) / (end - begin)) ** 0.9
            assert ours.masked_share(block) == pytest.approx(share, abs=1e-6)
        assert int(ours.unmasked) == sum(ours.masked_share(block) <= 0.5 for block in range(blocks))
    assert int(ours.unmasked) == blocks


def test_the_share_of_masked_queries() -> None:
    net = network(queries=400)
    net.decoder.train()
    tokens = net.backbone.embed(image()).joined_by(net.decoder.query.weight)
    masks = torch.full((2, 400, 16, 16), -1.0)
    masks[:, 0, :, :8] = 1.0
    for done, low, high in ((0.0, 800, 800), (0.25, 380, 480), (0.34, 0, 0)):
        net.decoder.advance(done)
        seen = net.decoder._seen(masks, tokens, 0)
        if high == 0:
            assert seen is None
            continue
        prefix = tokens.prefix
        assert seen is not None and bool(seen[:, :, :-400].all()) and bool(seen[..., :prefix].all())
        assert bool(seen[..., -400:].all())
        blind = ~seen[:, 0, -400:, prefix:-400]
        assert low <= int(blind.any(2).sum()) <= high
        assert set(blind.sum(2).unique().tolist()) <= {0, 8, 16}
    net.decoder.advance(0.0)
    half = net.decoder._seen(masks, tokens, 0)
    assert half is not None
    assert half[0, 0, -400, prefix:-400].view(4, 4).tolist() == [[True, True, False, False]] * 4


@pytest.mark.parametrize("family", sorted(NAMES))
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
@pytest.mark.parametrize(("patch", "stride"), [(16, 4), (14, 7), (8, 4)])
def test_images_of_any_size(family: str, size: tuple[int, int], patch: int, stride: int) -> None:
    net = network(family, patch).eval()
    assert net.decoder.stride == stride
    cells = tuple(math.ceil(side / stride) for side in size)
    with torch.no_grad():
        output = net(image(*size))
    assert output.logits.shape == (2, CLASSES, *cells) and bool(torch.isfinite(output.logits).all())
    assert output.queries[-1].masks.shape == (2, QUERIES, *cells)
    torch.testing.assert_close(output.logits.softmax(1), output.logits.exp())
    plain = [each.shape for each in net.backbone(image(*size))]
    assert [each.shape for each in output.features] == plain[2:]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", sorted(NAMES))
def test_every_weight_learns(family: str, precision: torch.dtype) -> None:
    """From a batch with 255, and in mixed precision too; from one without any label, every gradient is 0."""
    net = network(family).train()
    for labels, teaches in ((labels_of(), True), (torch.full_like(labels_of(), 255), False)):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
            loss = net.decoder.loss(net(image()), labels)
        assert loss.dtype == torch.float32 and bool(torch.isfinite(loss))
        loss.backward()
        gradients = {name: weight.grad for name, weight in net.named_parameters()}
        assert [name for name, each in gradients.items() if each is None or not torch.isfinite(each).all()] == []
        assert [name for name, each in gradients.items() if not each.any()] == ([] if teaches else list(gradients))


def taught(net: SegmentationNetwork, labels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(3)
    net.zero_grad()
    output: NetworkOutput = net(image())
    loss = net.decoder.loss(output, labels, weights)
    loss.backward()
    return loss.detach(), [weight.grad.clone() for weight in net.parameters()]


def test_a_label_of_weight_zero_teaches_what_255_teaches() -> None:
    """Whatever stands below 255: the same loss and the same gradients, as long as the classes of the image are."""
    net, known = network().train(), labels_of()
    weights = (known != 255).float()
    expected, gradients = taught(net, known)
    draw = torch.Generator().manual_seed(4)
    for _ in range(2):
        drawn = torch.randint(0, CLASSES, known.shape, generator=draw).to(torch.uint8)
        there = torch.stack([(known == label).flatten(1).any(1) for label in range(CLASSES)], 1)
        below = drawn.where(there.gather(1, drawn.flatten(1).long()).view_as(drawn), known[:, -1:, -1:])
        loss, found = taught(net, torch.where(known == 255, below, known), weights)
        torch.testing.assert_close(loss, expected)
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other)
    assert float((taught(net, torch.where(known == 255, below, known))[0] - expected).abs()) > 1e-3


def test_it_overfits_two_images() -> None:
    torch.manual_seed(0)
    backbone = Vit(NAMES["plain"], embed=EMBED, depth=DEPTH, heads=HEADS, patch=8)
    net = SegmentationNetwork(backbone, decoder(8), NoClassifier(EMBED, CLASSES - 1)).train()
    labels = labels_of()
    picture = labels[:, None].float().clamp_max(CLASSES).expand(-1, 3, -1, -1) - 2
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for step in range(60):
        net.decoder.advance(step / 60)
        loss = net.decoder.loss(net(picture), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    with torch.no_grad():
        output = net.eval()(picture)
    assert len(output.queries) == 1
    found = nn.functional.interpolate(output.logits, size=(64, 64), mode="bilinear").argmax(1)
    assert float((found == labels)[labels != 255].float().mean()) > 0.9


@pytest.mark.parametrize("size", [(48, 64), (37, 50)])
def test_scales_and_flips_are_those_of_every_decoder(size: tuple[int, int]) -> None:
    net, picture = network().eval(), image(*size)[0]
    straight = multi_scale_probabilities(net, picture, scales=(1.0, 0.5), flip=True)
    assert straight.shape == (CLASSES, *size)
    torch.testing.assert_close(straight.sum(0), torch.ones(size))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"the backbone has no patches; use backbone=dinov2_large"):
        decoder(None)
    net = network(blocks=5)
    with pytest.raises(InputError, match=r"decoder\.blocks: 5: the backbone has 4; use at most so many"):
        net(image())


def test_weights_for_other_classes_are_recognised() -> None:
    own = network().state_dict()
    found = {**own, "decoder.class_predictor.weight": torch.ones(8, EMBED)}
    assert likely_causes(own, found) == "it has 7 classes in decoder.class_predictor, this has 5: name its dataset="
