"""The second stage as it is run: recipe, starting weights, and the way from finished masks to a score."""

import csv
from pathlib import Path

import pytest
import torch
from tiny import DATASET, ON_CPU, SIDE, STEPS, VALIDATION, Tiny
from torch import nn

from dhr import train
from dhr.backbone.resnet import ResNet
from dhr.config.compose import compose
from dhr.config.parts import build, check_signatures
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.mask import read_mask
from dhr.stage.parts import build_network
from dhr.training.optimizer import PolyAdam

WIDTHS = (8, 16, 32, 64)
PLAIN = ("rebalancing=none", "classifier=none")
VOC_IMAGES = 10582
DECODER = (
    "decoder=mask2former_small",
    "decoder.queries=10",
    "decoder.channels=32",
    "decoder.encoder_layers=1",
    "decoder.decoder_layers=2",
    "decoder.criterion.points=128",
)


def test_the_published_recipe() -> None:
    cfg = compose("train", ["experiment=mask2former"])
    check_signatures(cfg)
    chosen = ("dataset", "backbone", "decoder", "classifier", "rebalancing", "wss", "optimizer")
    assert [cfg.choices[group] for group in chosen] == [
        "voc", "swin_large", "mask2former", "none", "none", "dhr", "mask2former",
    ]  # fmt: skip
    assert (cfg.optimizer.head_lr, cfg.optimizer.backbone_lr, cfg.optimizer.weight_decay) == (1e-4, 1e-5, 0.05)
    assert (cfg.trainer.gradient_clip_val, cfg.trainer.precision) == (0.01, "bf16-mixed")
    assert (cfg.dataset.crop_size, cfg.dataset.batch_size) == (640, 16)
    steps = VOC_IMAGES // cfg.dataset.batch_size  # an epoch leaves out what fills no batch
    assert (cfg.trainer.max_epochs - 1) * steps < cfg.trainer.max_steps == 160_000 <= cfg.trainer.max_epochs * steps


def parts() -> tuple[nn.Module, nn.Module]:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(4))
    backbone.register_parameter("relative_position_bias_table", nn.Parameter(torch.zeros(3)))
    return backbone, nn.Sequential(nn.Embedding(5, 4), nn.GroupNorm(2, 4), nn.Linear(4, 2))


def test_norms_and_embeddings_do_not_decay() -> None:
    backbone, head = parts()
    optimizer, schedule = PolyAdam().build(backbone, (head,), steps=4)
    groups = [(group["lr"], group["weight_decay"], [*map(id, group["params"])]) for group in optimizer.param_groups]
    (conv, batch, layer), (embedding, group, linear) = backbone, head
    assert groups == [
        (
            1e-5,
            0.0,
            [
                id(backbone.relative_position_bias_table),
                *(id(each) for each in (*batch.parameters(), *layer.parameters())),
            ],
        ),
        (1e-5, 0.05, [id(conv.weight), id(conv.bias)]),
        (1e-4, 0.0, [id(embedding.weight), id(group.weight), id(group.bias)]),
        (1e-4, 0.05, [id(linear.weight), id(linear.bias)]),
    ]
    rates = []
    for _ in range(4):
        optimizer.step()
        rates.append(schedule.get_last_lr()[-1])
        schedule.step()
    assert rates == pytest.approx([1e-4 * (1 - step / 4) ** 0.9 for step in range(4)])


def test_every_weight_of_the_network_is_trained_once() -> None:
    cfg = compose("train", ["backbone.widths=[8,16,32,64]", *DECODER, *PLAIN, "optimizer=mask2former"])
    network = build_network(cfg, load_classes("toy"))
    optimizer, _ = build(cfg.optimizer).build(network.backbone, (network.decoder, network.classifier), steps=4)
    held = [id(each) for group in optimizer.param_groups for each in group["params"]]
    assert sorted(held) == sorted(id(each) for each in network.parameters())
    still = {id(each) for group in optimizer.param_groups if not group["weight_decay"] for each in group["params"]}
    names = {name for name, each in network.named_parameters() if id(each) in still}
    assert {name.rpartition(".")[0] for name in names if "quer" in name} == {
        "decoder.layers.transformer.queries_embedder",
        "decoder.layers.transformer.queries_features",
    }
    assert "decoder.layers.pixel_decoder.level_embed" in names
    assert not any(name.endswith(("fc1.weight", "class_predictor.weight", "conv1.weight")) for name in names)


def saved(path: Path, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    state = ResNet("resnet18", widths=WIDTHS).layers.state_dict()
    torch.save({**state, **extra}, path)
    return state


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("mask2former-swin-large.pth", None, "its name says mask2former"),
        ("Mask2Former_R50.pth", None, "its name says mask2former"),
        ("start.pth", "class_predictor.weight", r"segmentation head \(class_predictor.weight\)"),
        ("start.pth", "model.pixel_level_module.decoder.mask_projection.weight", "segmentation head"),
        ("ade20k_semantic_eomt_large_512.bin", None, "its name says eomt"),
        ("start.pth", "network.class_head.weight", r"segmentation head \(network.class_head.weight\)"),
        ("start.pth", "mask_head.fc1.weight", "segmentation head"),
        ("start.pth", "sem_seg_head.predictor.mask_embed.layers.0.weight", "segmentation head"),
    ],
)
def test_weights_that_saw_pixel_labels_are_refused(tmp_path: Path, name: str, head: str | None, reason: str) -> None:
    saved(tmp_path / name, **({head: torch.zeros(1)} if head else {}))
    cure = rf"admit it with backbone\.weights=pixels:{tmp_path}/{name}"
    with pytest.raises(InputError, match=rf"{reason}.*not weakly supervised.*{cure}"):
        ResNet("resnet18", widths=WIDTHS, weights=str(tmp_path / name))


def test_weights_that_saw_pixel_labels_are_taken_where_the_run_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mask2former-backbone.pth"
    state = saved(path)
    made = ResNet("resnet18", widths=WIDTHS, weights=f"pixels:{path}").layers.state_dict()
    assert all(torch.equal(made[name], value) for name, value in state.items())
    with pytest.raises(InputError, match=r"gone\.pth: no such file"):
        ResNet("resnet18", widths=WIDTHS, weights=f"pixels:{tmp_path / 'gone.pth'}")


def test_other_starting_weights_are_taken(tmp_path: Path) -> None:
    saved(tmp_path / "resnet18.pth")
    ResNet("resnet18", widths=WIDTHS, weights=str(tmp_path / "resnet18.pth"))


@pytest.fixture(scope="module")
def done(tiny: Tiny) -> Tiny:
    """Masks that a run of the first stage predicted, learnt by the second, predicted and scored."""
    tiny.call("train", "wss=cam", "rebalancing=none", "name=stage-one", "dataset.max_epochs=1")
    tiny.call("predict", f"run={tiny.run('stage-one').root}", "split=train", "crf=none")
    masks = f"wss.masks={tiny.run('stage-one').masks('train')}"
    words = [
        *(
            "wss=dhr",
            masks,
            "rebalancing=none",
            "classifier=none",
            "optimizer=mask2former",
            "trainer.gradient_clip_val=0.01",
        ),
        *("backbone.widths=[8,16,32,64]", "trainer.precision=bf16-mixed", "name=second", *DECODER, *ON_CPU),
    ]
    paths = [f"paths.data={tiny.root / 'data'}", f"paths.outputs={tiny.root / 'outputs'}"]
    train.main.run(compose("train", [*paths, *DATASET, *words]))
    second = tiny.run("second").root
    tiny.call("predict", f"run={second}", "scales=[1.0,0.5]")
    for verb in ("evaluate", "report"):
        tiny.call(verb, f"run={second}")
    return tiny


def test_it_learns_finished_masks(done: Tiny) -> None:
    record = read_json(done.run("second").record)
    assert {key: record[key] for key in ("wss", "decoder", "rebalancing", "steps", "status", "start")} == {
        "wss": "dhr", "decoder": "mask2former_small", "rebalancing": "none", "steps": STEPS, "status": "finished",
        "start": "random",
    }  # fmt: skip
    rows = [row for row in csv.DictReader(done.run("second").metrics.open(newline="")) if row["train/loss"]]
    assert len(rows) == STEPS and all(0 < float(row["train/loss"]) < 200 for row in rows)
    assert {float(row["train/loss_classification"]) for row in rows} == {0.0}


def test_its_masks_are_predicted_scored_and_reported(done: Tiny) -> None:
    run = done.run("second")
    masks = [read_mask(path) for path in sorted(run.masks("validation").iterdir())]
    assert len(masks) == VALIDATION
    assert all(mask.shape == (SIDE, SIDE) and mask.max() < load_classes("toy").num_classes for mask in masks)
    scores = read_json(run.root / "scores" / "validation.json")
    assert (scores["images"], scores["missing"]) == (VALIDATION, 0)
    assert "mask2former_small" in run.report.read_text()
