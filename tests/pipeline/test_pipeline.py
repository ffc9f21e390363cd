"""Every stage in its order on a tiny toy set, then again, then interrupted."""

import csv
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from report_pages import check_self_contained, explored
from several import begun, ended, exit_code, finish_here
from tiny import EPOCHS, SIDE, STEPS, VALIDATION, Tiny

from dhr.config.parts import build
from dhr.config.stored import load_run_config
from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.annotation import read_tags
from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import read_mask
from dhr.disk.weights.state import read_checkpoint
from dhr.evaluation.gallery import load_gallery
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.predictor import Predictor
from dhr.network.weights import network_weights
from dhr.stage.parts import build_network
from dhr.stage.train import WATCHED
from dhr.training.curves import join_metrics
from dhr.training.metrics import LABEL_SCORES, LABELS

TABLE = load_classes("toy")
RUNS = ("dhr", "none")
PREDICTION = ("scales=[1.0,0.5]", "minimum_probability=0.05")
RECORDED = {
    "command", "dataset", "classes", "wss", "uss", "rebalancing", "label_maker", "refresh", "features",
    "backbone", "decoder", "start", "saw", "licences", "seed", "tau", "max_epochs", "steps", "seconds",
    "versions", "device", "data", "status",
}  # fmt: skip
CURVES = {
    "epoch", "step", "train/loss", "train/loss_segmentation", "train/loss_classification", "train/lr",
    "validation/miou", "validation/mfpr", "validation/mfnr",
}  # fmt: skip
LABEL_CURVES = {*LABELS, *LABEL_SCORES}
SCORED = {
    "definition", "dataset", "split", "masks", "images", "missing", "extra", "miou", "mfpr", "mfnr", "small_mfnr",
    "miou_interval", "small", "boundary", "objects", "classes", "confusion", "measured", "command",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tiny: Tiny) -> Tiny:
    """Two runs, both predicted, scored and reported."""
    for option in RUNS:
        tiny.call("train", "wss=cam", f"rebalancing={option}", f"name={option}")
        tiny.call("predict", f"run={tiny.run(option).root}", *PREDICTION)
        for verb in ("evaluate", "report"):
            tiny.call(verb, f"run={tiny.run(option).root}")
    return tiny


def curves(run: RunFolder) -> list[dict[str, str]]:
    return list(csv.DictReader(run.metrics.open(newline="")))


def test_masks_from_tags_name_only_tagged_classes(tiny: Tiny) -> None:
    folder = tiny.wss / "train"
    assert sorted(path.stem for path in folder.iterdir()) == tiny.layout.ids("train")
    for image_id in tiny.layout.ids("train"):
        names = [TABLE.names[0], *read_tags(tiny.layout.tags("train", image_id), TABLE.names)]
        mask = read_mask(folder / f"{image_id}.png")
        assert mask.shape == (SIDE, SIDE)
        assert set(np.unique(mask)) <= {TABLE.names.index(name) for name in names}
    assert sorted(path.name for path in tiny.wss.iterdir()) == [
        "backbone.safetensors", "classifier.safetensors", "recipe.json", "train", "train.files.jsonl", "train.json",
        "train.saw.json",
    ]  # fmt: skip


def test_features_lie_beside_the_images(tiny: Tiny) -> None:
    assert sorted(path.stem for path in tiny.features.iterdir()) == tiny.layout.ids("train")
    features = torch.load(tiny.features / "train_00003.pt", weights_only=True)
    assert (features.dtype, features.shape) == (torch.float16, (64, SIDE // 4, SIDE // 4))


@pytest.mark.parametrize("option", RUNS)
def test_a_run_says_how_it_was_made(done: Tiny, option: str) -> None:
    run = done.run(option)
    record = read_json(run.record)
    assert set(record) == RECORDED
    assert (record["status"], record["steps"], record["max_epochs"]) == ("finished", STEPS, EPOCHS)
    assert (record["wss"], record["rebalancing"], record["dataset"]) == ("cam", option, "toy")
    assert load_run_config(run.root).choices.rebalancing == option
    assert sorted(path.name for path in run.root.iterdir()) == [
        "checkpoints", "config.yaml", "gallery", "masks", "metrics.csv", "report.html", "run.json", "scores",
    ]  # fmt: skip


@pytest.mark.parametrize("option", RUNS)
def test_curves_of_a_run(done: Tiny, option: str) -> None:
    rows = curves(done.run(option))
    assert set(rows[0]) == CURVES | (LABEL_CURVES if option == "dhr" else set())
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    for name, count in (("train/lr", STEPS), ("validation/miou", EPOCHS)):
        assert sum(bool(row[name]) for row in rows) == count, name


def test_pictures_of_a_run(done: Tiny) -> None:
    maps = {option: load_gallery(done.run(option).gallery / "train_00000.npz") for option in RUNS}
    assert set(maps["none"]) == {"image", "wss_mask", "prediction", "truth", "tags"}
    assert set(maps["dhr"]) == set(maps["none"]) | {"seeds", "pseudo_mask", "features", "clusters"}
    names = [TABLE.names[0], *maps["dhr"]["tags"]]
    assert set(np.unique(maps["dhr"]["pseudo_mask"])) <= {TABLE.names.index(name) for name in names}


def test_predictions_are_palette_masks_of_every_image(done: Tiny) -> None:
    folder = done.run("dhr").masks("validation")
    assert sorted(path.stem for path in folder.iterdir()) == done.layout.ids("validation")
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("P", (SIDE, SIDE))
            assert picture.getpalette()[:9] == [value for colour in TABLE.palette[:3] for value in colour]
        assert read_mask(path).max() < TABLE.num_classes


def test_scores_count_every_pixel_of_every_image(done: Tiny) -> None:
    scores = read_json(done.run("dhr").scores("validation"))
    assert set(scores) == SCORED
    assert (scores["images"], scores["missing"], scores["extra"], scores["measured"]) == (VALIDATION, 0, 0, "here")
    confusion = np.array(scores["confusion"])
    expected = np.zeros_like(confusion)
    for image_id in done.layout.ids("validation"):
        truth = read_mask(done.layout.mask("validation", image_id))
        np.add.at(expected, (truth, read_mask(done.run("dhr").masks("validation") / f"{image_id}.png")), 1)
    assert (confusion == expected).all() and confusion.sum() == VALIDATION * SIDE**2
    assert [entry["truth_pixels"] for entry in scores["classes"]] == confusion.sum(1).tolist()


def test_the_report_stands_alone(done: Tiny) -> None:
    page = done.run("dhr").report.read_text()
    check_self_contained(page)
    assert len(explored(page)["images"]) == VALIDATION
    titles = ("Pictures from training", "USS features", "USS clusters", "Images")
    for said in ("learning rate", *titles, "ember_disc"):
        assert said in page


def test_the_averaged_weights_are_the_ones_predicted_with(done: Tiny) -> None:
    run, image_id = done.run("none"), "validation_00000"
    cfg, checkpoint = load_run_config(run.root), read_checkpoint(run.checkpoints / "last.ckpt")
    average = network_weights(run.checkpoints / "last.ckpt")
    last = {key.removeprefix("network."): value for key, value in checkpoint["current_model_state"].items()}
    name = "decoder.classifier.weight"
    assert not torch.allclose(average[name], last[name])
    pixels = torch.from_numpy(np.array(Image.open(done.layout.image("validation", image_id)))).permute(2, 0, 1)
    network = build_network(cfg, TABLE).eval()
    network.load_state_dict(average)
    predictor = Predictor(
        network, build(cfg.crf), scales=(1.0, 0.5), flip=True, minimum_probability=0.05,
        device=torch.device("cpu"),
    )  # fmt: skip
    probabilities = predictor.probabilities(pixels)
    same = predictor.refine(probabilities, pixels).numpy() == read_mask(run.masks("validation") / f"{image_id}.png")
    assert same.mean() > 0.99
    network.load_state_dict(last)
    assert not torch.allclose(predictor.probabilities(pixels), probabilities, atol=1e-3)


@pytest.mark.parametrize("option", ["none", "dhr"])
def test_pictures_of_predictions_are_those_of_the_averaged_weights(done: Tiny, option: str) -> None:
    run, shown = done.run(option), []
    network = build_network(load_run_config(run.root), TABLE).eval()
    network.load_state_dict(network_weights(run.checkpoints / "last.ckpt"))
    for path in sorted(run.gallery.glob("*.npz")):
        maps = load_gallery(path)
        image = normalise(torch.from_numpy(maps["image"]).permute(2, 0, 1))
        said = multi_scale_probabilities(network, image, scales=(1.0,), flip=False).argmax(0)
        shown.append((said.numpy() == maps["prediction"]).mean())
    assert len(shown) == WATCHED and min(shown) > 0.999


def test_again_does_nothing(done: Tiny) -> None:
    before = done.times()
    for verb in ("prepare", "extract_uss"):
        done.call(verb)
    done.call("train_wss")
    done.call("predict", f"run={done.run('dhr').root}", *PREDICTION)
    done.call("train", "wss=cam", "name=dhr", "rebalancing=dhr", "resume=true")
    assert done.times() == before


def test_a_run_is_not_trained_over(done: Tiny) -> None:
    before = done.times()
    with pytest.raises(InputError, match="name=dhr: .*resume=true or choose another name"):
        done.call("train", "wss=cam", "name=dhr")
    with pytest.raises(InputError, match="resume=true: .*other settings"):
        done.call("train", "wss=cam", "name=dhr", "tau=0.7", "resume=true")
    assert done.times() == before


def test_masks_of_two_settings_are_not_mixed(done: Tiny) -> None:
    shutil.copytree(done.run("none").root, done.run("copy").root)
    run, folder = f"run={done.run('copy').root}", done.run("copy").masks("validation")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(InputError, match="made with other settings.*overwrite=true"):
        done.call("predict", run, *PREDICTION, "flip=false")
    with pytest.raises(InputError, match="made with other settings.*overwrite=true"):
        done.call("train_wss", "seed=2")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    done.call("predict", run, "crf=none", "flip=false", "scales=[1.0]", "overwrite=true")
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(after) == set(before) and not set(after.values()) & set(before.values())


def test_curves_of_an_interrupted_run_are_joined(tmp_path: Path) -> None:
    """The first part went two steps further than its checkpoint; those steps are made again by the second."""
    parts = {"metrics.1.csv": (1, range(4)), "metrics.2.csv": (2, range(2, 5)), "metrics.csv": (3, range(4, 6))}
    for name, (value, steps) in parts.items():
        lines = ["step,train/loss,validation/miou", *(f"{step},{value},\n{step},,{value}" for step in steps)]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    join_metrics(tmp_path / "metrics.csv")
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open(newline="")))
    for key in ("train/loss", "validation/miou"):
        assert [(row["step"], row[key]) for row in rows if row[key]] == [*zip("012345", "112233", strict=True)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.slow
def test_a_killed_run_continues_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """The first command draws the scenes and extracts the features itself, then dies after its first checkpoint."""
    there = Tiny(tmp_path)
    words = ["dataset.max_epochs=4", "decoder.dropout=[0.5,0.5,0.5]"]
    run, whole = there.run("cut"), there.run("whole")
    last = run.checkpoints / "last.ckpt"
    command = there.command("train", *words, "name=cut")
    process = begun(command)
    while exit_code(process) is None and not last.exists():
        time.sleep(0.01)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert read_json(run.record)["status"] == "running"
    with pytest.raises(InputError, match="is not finished"):
        there.call("predict", f"run={run.root}")
    finish_here([*command, "resume=true"])
    there.call("train", *words, "name=whole")
    assert {key: read_json(run.record)[key] for key in ("status", "steps")} == {"status": "finished", "steps": 16}
    states = [read_checkpoint(each.checkpoints / "last.ckpt")["state_dict"] for each in (run, whole)]
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-4, atol=1e-6)  # of two processes
    for key in ("train/loss", "validation/miou"):
        points = [[(row["step"], row[key]) for row in curves(each) if row[key]] for each in (run, whole)]
        assert [step for step, _ in points[0]] == [step for step, _ in points[1]], key
