"""The decoder of Mask2Former: its composition, what its logits mean, and on which backbones it stands."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from dhr.backbone.resnet import ResNet
from dhr.classifier.none import NoClassifier
from dhr.core.errors import InputError
from dhr.core.sample import Queries
from dhr.decoder.mask2former import Mask2Former
from dhr.decoder.mask2former_loss import MaskLoss
from dhr.decoder.semantic import semantic_logits
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.segmentation import SegmentationNetwork

CLASSES, WIDTHS = 5, (8, 16, 32, 64)
SMALL = {"channels": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 2, "encoder_width": 32, "decoder_width": 48}


def decoder(output_stride: int = 8, **changes: object) -> Mask2Former:
    torch.manual_seed(0)
    options = {"criterion": MaskLoss(points=64), "queries": 6, **SMALL, **changes}
    return Mask2Former(backbone_channels=WIDTHS, output_stride=output_stride, num_classes=CLASSES, **options)


def maps_of(output_stride: int, side: int = 64, widths: tuple[int, ...] = WIDTHS) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    strides = (4, 8, min(output_stride, 16), output_stride)
    sides = [math.ceil(side / stride) for stride in strides]
    return tuple(
        torch.randn(2, width, cells, cells, generator=draw) for width, cells in zip(widths, sides, strict=True)
    )


def labels_of(side: int = 64) -> Tensor:
    drawn = torch.randint(0, CLASSES, (2, 4, 4), generator=torch.Generator().manual_seed(2))
    labels = drawn.repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2).to(torch.uint8)
    labels[:, :5] = 255
    return labels


def whole_model() -> Mask2FormerForUniversalSegmentation:
    """The public model of transformers with the same small decoder, on a backbone of its own."""
    swin = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, image_size=64)
    swin.out_features = ["stage1", "stage2", "stage3", "stage4"]
    config = Mask2FormerConfig(
        backbone_config=swin,
        num_labels=CLASSES,
        num_queries=6,
        num_attention_heads=4,
        encoder_layers=1,
        decoder_layers=3,
        encoder_feedforward_dim=32,
        dim_feedforward=48,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
    )
    return Mask2FormerForUniversalSegmentation(config).eval()


def renamed(name: str) -> str:
    """Name of a weight of the public model in our composition."""
    for old, new in (
        ("model.pixel_level_module.decoder.", "pixel_decoder."),
        ("model.transformer_module.", "transformer."),
    ):
        name = name.replace(old, new)
    return name


def test_it_is_the_public_model_behind_another_backbone() -> None:
    """Same names and shapes of weights, same queries and masks from the same feature maps."""
    model, ours = whole_model(), decoder().eval()
    backbone = model.model.pixel_level_module.encoder
    weights = {renamed(name): value for name, value in model.state_dict().items()}
    kept = {name: value for name, value in weights.items() if not name.startswith(("model.", "criterion."))}
    ours.layers.load_state_dict(kept, strict=True)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(image, output_auxiliary_logits=True)
        queries = ours(tuple(backbone(image).feature_maps)).queries
    layers = [*expected.auxiliary_logits, expected]
    assert len(queries) == len(layers) == SMALL["decoder_layers"] + 1
    for made, said in zip(queries, layers, strict=True):
        torch.testing.assert_close(made.classes, said["class_queries_logits"])
        torch.testing.assert_close(made.masks, said["masks_queries_logits"])


def test_it_starts_as_the_public_model_starts() -> None:
    """Spread of every weight; what is constant there is the same constant here."""
    model, ours = whole_model(), decoder().layers.state_dict()
    theirs = {renamed(name): value for name, value in model.state_dict().items()}
    for name, value in ours.items():
        if theirs[name].std() == 0 or value.numel() < 64:
            continue
        assert 0.6 < float(value.std() / theirs[name].std()) < 1.6, name
    constant = [name for name in ours if ours[name].numel() > 1 and float(theirs[name].std()) == 0]
    assert constant
    assert all(torch.equal(ours[name], theirs[name]) for name in constant)


def test_defaults_are_the_published_decoder() -> None:
    full = Mask2Former(backbone_channels=(192, 384, 768, 1536), output_stride=32, num_classes=20, criterion=MaskLoss())
    layers, published = full.layers, Mask2FormerConfig()
    assert len(layers.pixel_decoder.encoder.layers) == published.encoder_layers == 6
    assert len(layers.transformer.decoder.layers) == published.decoder_layers - 1 == 9
    assert layers.transformer.queries_features.weight.shape == (100, 256)
    assert layers.class_predictor.weight.shape == (21, 256)
    assert MaskLoss() == MaskLoss(
        class_weight=published.class_weight,
        mask_weight=published.mask_weight,
        dice_weight=published.dice_weight,
        no_object=published.no_object_weight,
        points=published.train_num_points,
        oversample=published.oversample_ratio,
        importance=published.importance_sample_ratio,
    )
    assert 19e6 < sum(weight.numel() for weight in full.parameters()) < 21e6


def test_logits_are_the_normalised_semantic_scores() -> None:
    draw = torch.Generator().manual_seed(3)
    said = Queries(torch.randn(2, 6, CLASSES + 1, generator=draw), 3 * torch.randn(2, 6, 3, 4, generator=draw))
    probabilities = semantic_logits(said).softmax(1)
    for image, row, column in product(range(2), range(3), range(4)):
        scores = [0.0] * CLASSES
        for query, value in product(range(6), range(CLASSES)):
            total = sum(math.exp(each) for each in said.classes[image, query].tolist())
            inside = 1 / (1 + math.exp(-float(said.masks[image, query, row, column])))
            scores[value] += math.exp(float(said.classes[image, query, value])) / total * inside
        expected = torch.tensor(scores) / sum(scores)
        torch.testing.assert_close(probabilities[image, :, row, column], expected, atol=1e-6, rtol=1e-5)


def test_a_pixel_that_no_query_claims_has_no_preference() -> None:
    said = Queries(torch.randn(1, 6, CLASSES + 1), torch.full((1, 6, 2, 2), -200.0))
    torch.testing.assert_close(semantic_logits(said).softmax(1), torch.full((1, CLASSES, 2, 2), 1 / CLASSES))


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("side", [64, 50])
def test_every_output_stride_gives_logits_at_stride_4(stride: int, side: int) -> None:
    decoded = decoder(output_stride=stride)(maps_of(stride, side))
    cells = math.ceil(side / 4)
    assert decoded.logits.shape == (2, CLASSES, cells, cells)
    assert [each.masks.shape for each in decoded.queries] == [(2, 6, cells, cells)] * 3
    assert [each.classes.shape for each in decoded.queries] == [(2, 6, CLASSES + 1)] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_stride": 4}, "output stride 4; allowed are 8, 16, 32"),
        ({"channels": 48}, "decoder.channels=48: not a multiple of 32"),
        ({"heads": 5}, "decoder.heads=5"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        decoder(**changes)


def network(output_stride: int = 8) -> SegmentationNetwork:
    torch.manual_seed(0)
    backbone = ResNet("resnet18", output_stride=output_stride, widths=WIDTHS)
    return SegmentationNetwork(backbone, decoder(output_stride=output_stride), NoClassifier(WIDTHS[3], CLASSES - 1))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_weight_learns(precision: torch.dtype) -> None:
    """From a batch with 255, and in mixed precision too; from one without any label, every gradient is 0."""
    net = network().train()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)  # residual branches start at zero and would pass nothing on
    for labels, teaches in ((labels_of(), True), (torch.full_like(labels_of(), 255), False)):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
            output = net(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
            loss = net.decoder.loss(output, labels)
        assert loss.dtype == torch.float32 and bool(torch.isfinite(loss))
        loss.backward()
        gradients = {name: weight.grad for name, weight in net.named_parameters()}
        assert [name for name, each in gradients.items() if each is None or not torch.isfinite(each).all()] == []
        still = [name for name, each in gradients.items() if not each.any()]
        # Deformable attention starts without looking at its queries, so the levels' embedding has to wait a step.
        assert still == (["decoder.layers.pixel_decoder.level_embed"] if teaches else list(gradients))


def test_it_overfits_two_images() -> None:
    net, labels = network().train(), labels_of()
    image = labels[:, None].float().clamp_max(CLASSES).expand(-1, 3, -1, -1) - 2
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        output = net(image)
        loss = net.decoder.loss(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    known = labels != 255
    probabilities = nn.functional.interpolate(output.logits.softmax(1), size=(64, 64), mode="bilinear")
    assert float((probabilities.argmax(1) == labels)[known].float().mean()) > 0.9


def test_training_goes_on_after_inference_mode() -> None:
    """transformers keeps position embeddings; one that validation made must not break the next step."""
    net = network()
    image = torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        net.eval()(image)
    output = net.train()(image)
    net.decoder.loss(output, labels_of(48)).backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("size", [(48, 64), (37, 50)])
def test_scales_and_flips_are_those_of_every_decoder(size: tuple[int, int]) -> None:
    net, image = network().eval(), torch.randn(3, *size, generator=torch.Generator().manual_seed(5))
    straight = multi_scale_probabilities(net, image, scales=(1.0, 0.5), flip=True)
    assert straight.shape == (CLASSES, *size)
    torch.testing.assert_close(straight.sum(0), torch.ones(size))
    mirrored = multi_scale_probabilities(net, image.flip(-1), scales=(1.0, 0.5), flip=True)
    near = 1e-5 if size[1] % net.decoder.stride == 0 else 1e-2  # else the cells of the two lie elsewhere
    torch.testing.assert_close(mirrored.flip(-1), straight, atol=near, rtol=0)
