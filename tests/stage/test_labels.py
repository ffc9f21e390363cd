"""dhr.labels: the labels are those of training on whole images, the scores those of slow loops, in one table."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from refreshing import Spy, relabelled
from tiny import NETWORK, TRAIN, Tiny

import dhr.training.bars
from dhr.config.compose import compose
from dhr.config.label_options import rebalancers_of
from dhr.config.stored import load_run_config
from dhr.core.colour import normalise
from dhr.core.errors import InputError
from dhr.core.labels import IGNORE
from dhr.crf.native import NativeCrf
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.mask import read_mask
from dhr.evaluation.label_scores import Tally, changed, changes, markdown, summary
from dhr.evaluation.scores import score_pairs
from dhr.network.multi_scale import multi_scale_probabilities
from dhr.network.weights import load_network
from dhr.stage.parts import build_network, open_split
from dhr.training.label_ways import SharedField

TABLE = load_classes("toy")
OPTIONS = ("network", "network_crf", "dhr", "dhr tau=0.3", "seed_only")


@pytest.fixture(scope="module")
def there(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A finished run."""
    copy = tiny.copy(tmp_path_factory.mktemp("labels"))
    copy.call("train", "wss=cam", "dataset.max_epochs=1", "dataset.rebalancing_start=0", "name=run")
    return copy


@pytest.fixture(scope="module")
def done(there: Tiny) -> Tiny:
    """Its labels by some options, all kept."""
    there.call("labels", run_of(there), f"options=[{','.join(OPTIONS)}]", "keep=true")
    return there


def run_of(there: Tiny) -> str:
    return f"run={there.run('run').root}"


def labels_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in folder.glob("*.png")}


def kept(there: Tiny, option: str) -> dict[str, np.ndarray]:
    return labels_in(there.run("run").root / "labels" / "train" / option)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected) and len(found) == TRAIN
    assert [image_id for image_id in found if not np.array_equal(found[image_id], expected[image_id])] == []


def test_labels_are_those_of_the_rebalancer_alone(done: Tiny) -> None:
    """One look of the network and one CRF field for all options change nothing."""
    run = done.run("run")
    assert_same(kept(done, "dhr"), relabelled(run, run.last, key="state_dict"))
    assert any((mask != kept(done, "dhr-tau=0.3")[image_id]).any() for image_id, mask in kept(done, "dhr").items())


def test_labels_are_those_of_a_round(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of weights as a round found it, and the labels that the round made with it."""
    run, weights = tiny.run("in_rounds"), tmp_path / "w.ckpt"

    def keep(epoch: int) -> None:
        if epoch == 1:
            shutil.copy(run.last, weights)

    monkeypatch.setattr(dhr.training.bars, "progress_bar", lambda: Spy(keep))
    tiny.call("train", "wss=cam", "refresh=round", "label_maker=ema", "name=in_rounds")
    words = ("wss=cam", *NETWORK, "crf.workers=0", "options=[dhr]", "keep=[dhr]")
    tiny.call("labels", f"weights={weights}", *words)
    (made,) = (tiny.root / "outputs" / "toy" / "weights").glob("w-*/labels/train/dhr")
    assert_same(labels_in(made), labels_in(run.labels(0)))


def test_the_network_chooses_among_the_tags_of_the_image(done: Tiny) -> None:
    run = done.run("run")
    cfg = load_run_config(run.root)
    split = open_split(cfg, "train")
    network = build_network(cfg, TABLE).eval()
    load_network(network, run.last)
    for image_id, label in kept(done, "network").items():
        image = normalise(split.pixels(image_id))
        probabilities = multi_scale_probabilities(network, image, scales=(1.0,), flip=False).numpy()
        allowed = [0, *(1 + split.tags(image_id).numpy().nonzero()[0])]
        expected = np.array(allowed)[probabilities[allowed].argmax(0)]
        assert np.array_equal(label, expected), image_id
    changes = [
        (label != kept(done, "network")[image_id]).any() for image_id, label in kept(done, "network_crf").items()
    ]
    assert any(changes)


def test_scores_are_those_of_the_labels(done: Tiny) -> None:
    found = read_json(done.run("run").label_scores("train"))
    truths = {image_id: read_mask(done.layout.mask("train", image_id)) for image_id in done.layout.ids("train")}
    assert list(found["options"]) == ["given", *OPTIONS]
    assert (found["images"], found["of"], found["ids"]) == (TRAIN, TRAIN, done.layout.ids("train"))
    assert_same(kept(done, "given"), labels_in(done.wss / "train"))
    for option, folder in zip(("given", *OPTIONS), ("given", *OPTIONS[:3], "dhr-tau=0.3", "seed_only"), strict=True):
        labels = kept(done, folder)
        pairs = [(torch.from_numpy(labels[image_id]), torch.from_numpy(truths[image_id])) for image_id in truths]
        expected, scores = score_pairs(pairs, TABLE), found["options"][option]
        assert expected.small is not None
        assert scores["miou"] == pytest.approx(expected.miou)
        assert scores["small"]["mfnr"] == pytest.approx(expected.small.mfnr)
        assert (scores["seconds"] > 0) == (option != "given")
        one = score_pairs(pairs[3:4], TABLE).miou
        assert found["image_miou"]["train_00003"][option] == pytest.approx(one, abs=1e-3)
    assert found["rebalancers"]["dhr tau=0.3"]["intra_class"]["groups"]["tau"] == 0.3


def test_some_images_are_spread_evenly_and_said(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    there.call("labels", run_of(there), "options=[network]", "limit=4", "split=train")
    found = read_json(there.run("run").label_scores("train"))
    assert found["ids"] == [f"train_{number:05}" for number in (2, 6, 10, 14)]
    assert (found["images"], found["of"]) == (4, TRAIN)
    assert f"4 of {TRAIN} images" in caplog.text and "| `network` |" in caplog.text


def test_labels_need_truth_masks_and_features(there: Tiny, tmp_path: Path) -> None:
    """Said before any work: nothing is written."""
    other = there.copy(tmp_path)
    shutil.copytree(there.run("run").root, other.run("run").root)
    shutil.rmtree(other.run("run").root / "labels", ignore_errors=True)
    with pytest.raises(InputError, match=r"validation_00000\.png: this WSS mask is missing"):
        other.call("labels", run_of(other), "split=validation")
    (other.layout.mask("train", "train_00003")).unlink()
    with pytest.raises(InputError, match=r"1 of 16 human masks are missing \(train_00003\)"):
        other.call("labels", run_of(other))
    shutil.rmtree(other.layout.split("train") / "mask")
    with pytest.raises(InputError, match="no human mask of split train, so there is nothing to score against"):
        other.call("labels", run_of(other))
    shutil.rmtree(other.features)
    with pytest.raises(InputError, match=r"these USS features are missing; run python -m dhr\.extract_uss"):
        other.call("labels", run_of(other))
    assert not (other.run("run").root / "labels").exists()


def test_kept_labels_of_other_settings_are_not_mixed(done: Tiny) -> None:
    words = (run_of(done), "options=[network_crf]", "keep=true", "crf=none")
    with pytest.raises(InputError, match="made with other settings .*crf.*overwrite=true"):
        done.call("labels", *words)


def test_computed_features_need_no_store(tiny: Tiny, tmp_path: Path) -> None:
    other = tiny.copy(tmp_path)
    shutil.rmtree(other.features)
    other.call("train", "wss=cam", "features=computed", "dataset.max_epochs=1", "name=run")
    other.call("labels", run_of(other), "options=[dhr]", "limit=2")
    assert read_json(other.run("run").label_scores("train"))["options"]["dhr"]["miou"] > 0


def test_settings_of_an_option() -> None:
    options = ["softened", "softened tau=0.6", "final_transport rebalancing.rebalancer.refine.final.mass.power=1"]
    options += [
        "softened rebalancing/seed@rebalancing.rebalancer.seed=none",
        "softened 'rebalancing.rebalancer.seed.gamma=2'",
    ]
    values = {"options": options, "tau": 0.7, "dataset": {"rebalancing_start": 3, "mass_power": 0.25}}
    plain, other_tau, final, none, gamma = rebalancers_of(values).values()
    assert (plain.intra_class.groups.tau, other_tau.intra_class.groups.tau) == (0.7, 0.6)
    assert (plain.refine.final.mass.power, final.refine.final.mass.power) == (0.25, 1)
    assert none.seed._target_ != plain.seed._target_
    assert (plain.seed.gamma, gamma.seed.gamma) == (1, 2)


@pytest.mark.parametrize(("option", "said"), [
    ("dhr tau=3", "dhr tau=3: tau: 3: out of range"),
    ("dhr tau", "not of the form key=value"),
    ("dhr tau=0.1,0.2", "several values"),
    ("dhr dataset.crop_size=8", r"dataset\.crop_size: 8: cannot be set here; allowed: tau="),
    ("dhr rebalancing=paper", "rebalancing: paper: cannot be set here"),
    ("softened rebalancing.rebalancer.seed.polcy=1", r"seed\.polcy: 1: unknown key; did you mean policy\?"),
    ("dhr rebalancing.rebalancer.seed._target_=os.system", "not a part of this group"),
    ("dhr rebalancing/seed@rebalancing.rebalancer.seed=nothing", "rebalancing/seed: nothing: no such option"),
    ("dhr 'tau=0.6", "No closing quotation"),
    ("network tau=0.6", "network tau=0.6: has no settings"),
])  # fmt: skip
def test_wrong_settings_of_an_option(option: str, said: str) -> None:
    values = {"options": [option], "tau": 0.8, "dataset": {"rebalancing_start": 0, "mass_power": 0.0}}
    with pytest.raises(InputError, match=f"^options: .*{said}"):
        rebalancers_of(values)


def test_options_are_typed_as_they_are() -> None:
    words = ["weights=tests/helpers/tiny.py", "options=[dhr,dhr tau=0.6,'paper']", "keep=[dhr tau=0.6]"]
    cfg = compose("labels", words)
    assert (cfg.options, cfg.keep) == (["dhr", "dhr tau=0.6", "paper"], ["dhr tau=0.6"])
    with pytest.raises(InputError, match=r"dhr  tau=0\.6: has the folder of dhr tau=0\.6, dhr-tau=0\.6"):
        compose("labels", [words[0], "options=[dhr tau=0.6,dhr  tau=0.6]"])


def test_pixels_without_a_label_are_in_no_score_and_counted() -> None:
    truth, label = np.zeros((4, 10), np.uint8), np.zeros((4, 10), np.uint8)
    truth[0, :3], truth[3] = 1, IGNORE
    label[0, :2], label[:, 5:] = 1, IGNORE
    tally, full = Tally(), Tally()
    tally.add("a", label, truth, 2.0)
    full.add("a", np.zeros_like(label), truth, 0.0)
    scores = tally.scores(TABLE)
    assert scores["unlabelled"] == 15 / 30 and scores["seconds"] == 2
    assert scores["miou"] == pytest.approx(100 * (2 / 3 + 12 / 13) / 2)
    options = {"full": full.scores(TABLE), "part": scores}
    assert "unlabelled %" in markdown(options) and "50.0" in markdown(options)
    assert "unlabelled" not in markdown({"full": options["full"]})


def test_images_that_gain_and_lose() -> None:
    tallies = {name: Tally(seconds=[1.0]) for name in ("given", "ours")}
    for number in range(25):
        tallies["given"].image_miou[f"i{number:02}"] = 50.0
        tallies["ours"].image_miou[f"i{number:02}"] = 50.0 + number - 12
    images = {
        image_id: {name: tally.image_miou[image_id] for name, tally in tallies.items()}
        for image_id in tallies["given"].image_miou
    }
    found = changes(images, "ours", "given")
    assert found["helps"] == [[f"i{number}", float(number - 12)] for number in range(24, 14, -1)]
    assert found["hurts"] == [[f"i{number:02}", float(number - 12)] for number in range(10)]
    assert "helps i24 +12.0, i23 +11.0" in changed({"ours": found}, "given")
    assert summary(tallies, TABLE, "given")["changes"]["ours"] == found


def test_one_field_serves_what_asks_for_it() -> None:
    crf = SharedField(NativeCrf(workers=0))
    pixels, valid = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8, dtype=torch.bool)
    field = crf.on(pixels, valid)
    assert crf.on(pixels, valid.clone()) is field
    assert crf.on(pixels, ~valid) is not field
    assert crf.on(pixels.clone(), valid) is not crf.on(pixels, valid)
