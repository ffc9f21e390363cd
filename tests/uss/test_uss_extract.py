"""extract_uss: a store of one setting, whole after a kill, every image in it."""

import hashlib
import logging
import signal
import time
from pathlib import Path

import pytest
import torch
from several import begun, ended, exit_code, finish_two
from test_uss_pipeline import ERRORS, Limited
from tiny import SIDE, TRAIN, Tiny

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.toy.toy_set import write_toy
from dhr.disk.atomic import read_json
from dhr.disk.feature_file import FORMS
from dhr.stage import extract_uss as run_module
from dhr.uss.pca import Basis

KILLED = 100  # images: enough for the kill to come before the end


@pytest.fixture
def there(tmp_path: Path) -> Tiny:
    """Images without features."""
    write_toy(tmp_path / "data", splits={"train": 8, "validation": 1}, image_size=SIDE)
    return Tiny(tmp_path)


def contents(there: Tiny) -> dict[str, bytes]:
    split = there.layout.split("train")
    beside = [path for path in split.glob("colour*") if path.is_file() and path.suffix != ".jsonl"]  # which has times
    return {str(path.relative_to(split)): path.read_bytes() for path in (*beside, *there.features.glob("*"))}


def test_a_record_says_what_the_features_were_made_with(there: Tiny) -> None:
    there.call("extract_uss", "uss.scales=[1.0,0.5]", "uss.flip=true", "uss.form=safetensors")
    assert sorted(path.suffix for path in there.features.iterdir()) == [".safetensors"] * 8
    record = read_json(there.features.with_name("colour.json"))
    extractor = record.pop("extractor")
    assert record == {
        "scales": [1.0, 0.5], "flip": True, "form": "safetensors", "components": None, "patch_size": 4, "channels": 64,
    }  # fmt: skip
    assert extractor["_target_"].endswith("ColourExtractor") and extractor["patch_size"] == 4


def test_weights_are_recorded_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "head.pt"
    file.write_bytes(b"numbers")
    node = {"_target_": "x", "weights": str(file), "tokens": {"weights": "pretrained", "name": "vit"}, "width": 3}
    digest = f"sha256:{hashlib.sha256(b'numbers').hexdigest()}"
    expected = {"_target_": "x", "weights": digest, "tokens": {"weights": "pretrained", "name": "vit"}, "width": 3}
    assert run_module._digested(node) == expected


OTHER = {
    "scales": ("uss.scales=[2.0]",), "flip": ("uss.flip=true",), "form": ("uss.form=safetensors",),
    "components": ("uss.components=8",), "extractor": ("uss.extractor.bandwidth=0.2",),
    "centred": ("uss.centred=true",), "extractor, patch_size": ("uss.extractor.patch_size=8",),
}  # fmt: skip


@pytest.mark.parametrize("named", OTHER)
def test_features_of_two_settings_are_not_mixed(there: Tiny, named: str) -> None:
    there.call("extract_uss")
    (there.features / "train_00003.pt").unlink()
    before = there.times()
    with pytest.raises(InputError, match=rf"made with other settings \({named}.* in .*colour\.json\); overwrite=true"):
        there.call("extract_uss", *OTHER[named])
    assert there.times() == before
    there.call("extract_uss", *OTHER[named], "overwrite=true")
    assert len(list(there.features.iterdir())) == 8
    there.call("extract_uss", *OTHER[named])


def test_released_features_are_taken_as_they_are_and_never_added_to(
    there: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    there.call("extract_uss")
    there.features.with_name("colour.json").unlink()
    before = there.times()
    with caplog.at_level(logging.INFO):
        there.call("extract_uss", "uss.scales=[2.0]")
    assert there.times() == before and "features of all 8 images are there, made elsewhere" in caplog.text
    (there.features / "train_00003.pt").unlink()
    with pytest.raises(InputError, match=r"holds features of 7 of 8 images that do not say how .*\(no colour\.json\)"):
        there.call("extract_uss")


def test_torn_files_are_made_anew_and_nothing_else(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    there.call("extract_uss")
    whole, before = contents(there), there.times()
    torn = [there.features / f"train_{number:05d}.pt" for number in (2, 5, 6)]
    torn[0].write_bytes(b"")
    torn[1].write_bytes(torn[1].read_bytes()[:-100])
    torn[2].unlink()
    with caplog.at_level(logging.INFO):
        there.call("extract_uss")
    assert contents(there) == whole
    ledger = there.features.with_name("colour.files.jsonl")
    assert {path for path, moment in there.times().items() if before.get(path) != moment} == {*torn, ledger}
    assert "2 files are made anew: train_00002.pt (0 bytes" in caplog.text
    assert "3 made, 5 were there" in caplog.text and "images/s" in caplog.text


def test_an_image_that_does_not_fit_is_named_and_not_left_out(
    there: Tiny, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.call("extract_uss", "uss.flip=true")
    whole = {path.name: torch.load(path, weights_only=True) for path in there.features.iterdir()}
    real = run_module.build
    monkeypatch.setattr(
        run_module, "build", lambda node: Limited(real(node), SIDE * SIDE, ERRORS["allocator of the GPU"])
    )
    there.call("extract_uss", "uss.flip=true", "overwrite=true")
    assert caplog.text.count(f"did not fit into memory: {SIDE} x {SIDE} pixels one by one") == 8
    assert "train_00004: did not fit" in caplog.text
    for path in there.features.iterdir():
        torch.testing.assert_close(torch.load(path, weights_only=True), whole[path.name], atol=1e-3, rtol=0)


def test_fewer_components_lie_beside_the_features(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    there.call("extract_uss")
    full = {path.name: torch.load(path, weights_only=True).float() for path in there.features.iterdir()}
    with caplog.at_level(logging.INFO):
        there.call("extract_uss", "uss.components=12", "overwrite=true")
    basis = Basis.load(there.features.with_name("colour_components.safetensors"))
    assert basis.directions.shape == (64, 12)
    assert f"12 of 64 directions carry {100 * float(basis.energy.sum()):.2f} % of the energy of 8 images" in caplog.text
    for name, values in full.items():
        stored = torch.load(there.features / name, weights_only=True)
        torch.testing.assert_close(stored.float(), basis.project(values), atol=2e-3, rtol=0)
    (there.features / "train_00001.pt").unlink()
    before = contents(there)
    there.call("extract_uss", "uss.components=12")
    assert {name: data for name, data in contents(there).items() if name in before} == before
    there.features.with_name("colour_components.safetensors").unlink()
    with pytest.raises(InputError, match=r"colour_components\.safetensors: missing: 8 files depend on it; overwrite"):
        there.call("extract_uss", "uss.components=12")
    for wrong in (65, 10**4):
        with pytest.raises(InputError, match=rf"uss\.components: {wrong}: allowed are 1 to 64"):
            there.call("extract_uss", f"uss.components={wrong}", "overwrite=true")


@pytest.mark.parametrize("components", [None, 12])
def test_centred_features_lack_the_mean_of_the_split(there: Tiny, components: int | None) -> None:
    words = ("uss.centred=true", *([] if components is None else [f"uss.components={components}"]))
    there.call("extract_uss")
    full = {path.name: torch.load(path, weights_only=True).double() for path in there.features.iterdir()}
    mean = torch.cat([each.flatten(1) for each in full.values()], 1).mean(1)
    there.call("extract_uss", *words, "overwrite=true")
    record, basis = (
        read_json(there.features.with_name("colour.json")),
        there.features.with_name("colour_components.safetensors"),
    )
    assert record["centred"] is True and record["channels"] == (components or 64)
    directions = Basis.load(basis).directions.double()
    for name, values in full.items():
        stored = torch.load(there.features / name, weights_only=True)
        expected = torch.einsum("dhw,dc->chw", values - mean[:, None, None], directions)
        torch.testing.assert_close(stored.double(), expected, atol=2e-3, rtol=0)
    (there.features / "train_00001.pt").unlink()
    before = contents(there)
    there.call("extract_uss", *words)
    assert {name: data for name, data in contents(there).items() if name in before} == before


def test_training_reads_both_forms(tiny: Tiny, tmp_path: Path) -> None:
    """The same losses, whatever the form."""
    losses = []
    for form in FORMS:
        there = tiny.copy(tmp_path / form)
        there.call("extract_uss", f"uss.form={form}", "overwrite=true")
        there.call("train", "wss=cam", "name=short", "dataset.max_epochs=1", "dataset.rebalancing_start=0")
        losses.append(there.run("short").metrics.read_text())
    assert losses[0] == losses[1] and losses[0].count("\n") > TRAIN // 4


@pytest.mark.slow
def test_a_killed_extraction_is_continued(tmp_path: Path) -> None:
    """SIGKILL while it writes: no torn file under its name, no orphan after the next run, and the same features."""
    there = Tiny(tmp_path / "cut")
    write_toy(there.root / "data", splits={"train": KILLED, "validation": 1}, image_size=SIDE)
    whole, words = there.copy(tmp_path / "whole"), ("uss.components=16", "uss.scales=[4.0,1.0]", "uss.flip=true")
    process = begun(there.command("extract_uss", *words))
    while exit_code(process) is None and len(list(there.features.glob("t*.pt"))) < KILLED // 4:
        time.sleep(0.001)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    done = list(there.features.glob("t*.pt"))
    assert len(done) < KILLED
    for path in done:
        torch.load(path, weights_only=True)
    for each in (there, whole):
        each.call("extract_uss", *words)
    assert contents(there) == contents(whole) and len(contents(there)) == KILLED + 2


@pytest.mark.slow
def test_two_processes_make_what_one_makes(there: Tiny) -> None:
    words = ("uss.components=16", "uss.centred=true", "uss.form=safetensors")
    assert finish_two(there.command("extract_uss", *words)).count("4 made") == 2
    two = contents(there)
    there.call("extract_uss", *words, "overwrite=true")
    assert set(contents(there)) == set(two)
    store = run_module.feature_store(compose("extract_uss", there.words("extract_uss", *words)), "train")
    for number in range(8):
        one = store.read(f"train_{number:05d}")
        (there.features / f"train_{number:05d}.safetensors").write_bytes(two[f"colour/train_{number:05d}.safetensors"])
        torch.testing.assert_close(store.read(f"train_{number:05d}"), one, atol=2e-3, rtol=0)
