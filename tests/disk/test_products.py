"""Stages and what they find: nothing that changed is taken, nothing of other content is mixed, no place is shared."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import NETWORK, SIDE, TRAIN, VALIDATION, Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.disk.atomic import read_json
from dhr.disk.layout import RunFolder
from dhr.disk.mask import write_mask

QUICK = ("crf=none", "scales=[1.0]", "flip=false")
TABLE = load_classes("toy")


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A short run, predicted and scored."""
    made = tiny.copy(tmp_path_factory.mktemp("trained"))
    made.call("train", "wss=cam", "rebalancing=none", "dataset.max_epochs=1", "name=short")
    made.call("predict", f"run={made.run('short').root}", *QUICK)
    return made


@pytest.fixture
def there(trained: Tiny, tmp_path: Path) -> Tiny:
    """A copy, to be broken."""
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    return Tiny(tmp_path)


def predict(there: Tiny, *words: str, run: str = "short") -> None:
    there.call("predict", f"run={there.run(run).root}", *QUICK, *words)


def folders(there: Tiny) -> dict[str, Path]:
    return {
        "predict": there.run("short").masks("validation"),
        "train_wss": there.wss / "train",
        "extract_uss": there.features,
    }


def make(there: Tiny, verb: str) -> None:
    predict(there) if verb == "predict" else there.call(verb)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def damage(folder: Path) -> int:
    """Damages files in all ways but their names; how many."""
    paths = sorted(folder.iterdir())[:4]
    data = [path.read_bytes() for path in paths]
    paths[0].write_bytes(data[1])
    paths[1].write_bytes(data[0])
    times = paths[2].stat()
    paths[2].write_bytes(data[2][:-9] + bytes([data[2][-9] ^ 1]) + data[2][-8:])
    os.utime(paths[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    paths[3].write_bytes(data[3][:-5])
    return len(paths)


@pytest.mark.parametrize("verb", ["predict", "train_wss", "extract_uss"])
def test_a_stage_makes_again_what_was_damaged(there: Tiny, verb: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = folders(there)[verb]
    make(there, verb)
    whole = contents(folder)
    count = damage(folder)
    caplog.set_level("INFO")
    caplog.clear()
    make(there, verb)
    assert contents(folder) == whole
    assert f"{count} files are made anew: " in caplog.text and f"{count} made, {len(whole) - count} were" in caplog.text


READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "evaluate": ("predict", ("run={run}",)),
    "evaluate, masks": ("predict", ("dataset=toy", "masks={run}/masks/validation")),
    "report": ("predict", ("run={run}",)),
    "train, masks": ("train_wss", ("wss=cam", "name=other")),
    "train, features": ("extract_uss", ("wss=cam", "name=other")),
    "audit, masks": ("train_wss", ("dataset=toy", "wss=cam")),
    "audit, features": ("extract_uss", ("dataset=toy", "uss=colour")),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_later_stage_refuses_what_changed(there: Tiny, reader: str) -> None:
    verb, words = READERS[reader]
    folder, run = folders(there)[verb], there.run("short").root
    one, other = sorted(folder.iterdir())[1:3]
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)  # swapped: both are readable, and fit
    with pytest.raises(InputError, match=rf"{one.name}\W+.*(other content than|bytes, not \d+ as) when it was made"):
        there.call(reader.partition(",")[0], *(word.format(run=run) for word in words))


def test_an_audit_tells_of_every_changed_file(there: Tiny) -> None:
    for folder in (there.wss / "train", there.features):
        for path in sorted(folder.iterdir())[:2]:
            times = path.stat()
            path.write_bytes(sorted(folder.iterdir())[2].read_bytes())
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(InputError, match="broken"):
        there.call("audit", "dataset=toy", "wss=cam", "uss=colour")
    found = read_json(there.root / "outputs" / "toy" / "audit" / "audit.json")["findings"]
    changed = [(each["kind"], each["id"]) for each in found if each["kind"].endswith("changed")]
    assert sorted(changed) == [
        (f"{what}: changed", f"train_{number:05d}") for what in ("USS features", "WSS mask") for number in (0, 1)
    ]


def test_a_folder_without_a_ledger_is_taken_as_it_is(there: Tiny) -> None:
    """Brought by the user, or published."""
    for verb in ("train_wss", "extract_uss"):
        folder = folders(there)[verb]
        folder.with_name(f"{folder.name}.files.jsonl").unlink()
        folder.with_name(f"{folder.name}.json").unlink()
    mask = there.wss / "train" / "train_00001.png"
    write_mask(mask, np.zeros((SIDE, SIDE), np.uint8), TABLE.palette)
    there.call("train", "wss=cam", "name=other", "dataset.max_epochs=1")
    assert read_json(there.run("other").record)["status"] == "finished"
    with pytest.raises(InputError, match=r"holds masks of 16 of 16 images that do not say how .*wss\.masks=\S+/<name>"):
        there.call("train_wss")


# Settings are content


def touch_weights(path: Path) -> None:
    """Another network in a file of the same length and time."""
    times = path.stat()
    content = torch.load(path, weights_only=True)
    for name, value in content["state_dict"].items():
        if name.endswith(".weight"):
            value.neg_()
    torch.save(content, path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_another_checkpoint_of_the_same_size_and_time_is_another(there: Tiny) -> None:
    last = there.run("short").checkpoints / "last.ckpt"
    torch.save(torch.load(last, weights_only=True), last)  # as touch_weights writes it
    predict(there, "overwrite=true")
    before, size = contents(there.run("short").masks("validation")), last.stat().st_size
    touch_weights(last)
    assert last.stat().st_size == size
    with pytest.raises(InputError, match=r"its masks were made with other settings \(weights in .*validation\.json\)"):
        predict(there)
    assert contents(there.run("short").masks("validation")) == before


def test_a_copied_run_is_the_same(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(there.run("short").root, there.run("copy").root, copy_function=shutil.copyfile)
    caplog.set_level("INFO")
    predict(there, run="copy")
    assert f"0 made, {VALIDATION} were there" in caplog.text
    there.call("evaluate", f"run={there.run('copy').root}")


@pytest.mark.parametrize("verb", ["predict", "train_wss", "extract_uss"])
def test_another_image_of_the_same_name_is_asked_again(
    there: Tiny, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    split = "validation" if verb == "predict" else "train"
    make(there, verb)
    one, other = (there.layout.image(split, f"{split}_{number:05d}") for number in (1, 2))
    shutil.copyfile(other, one)
    caplog.set_level("INFO")
    caplog.clear()
    make(there, verb)
    assert f"{one.stem}" in caplog.text and f"made from another {one.name}" in caplog.text
    assert f"1 made, {(TRAIN if split == 'train' else VALIDATION) - 1} were there" in caplog.text


def test_other_tags_give_other_masks(there: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copyfile(there.layout.tags("train", "train_00003"), there.layout.tags("train", "train_00002"))
    caplog.set_level("INFO")
    there.call("train_wss")
    assert "train_00002.png (made from another train_00002.xml)" in caplog.text and "1 made, 15 were" in caplog.text


@pytest.mark.parametrize(("words", "named"), [
    (("decoder.dropout=[0,0,0]",), "decoder"), (("backbone.output_stride=16",), "backbone"), (("flip=true",), "flip"),
    (("scales=[0.5]",), "scales"), (("crf=pydensecrf_small", "crf.workers=0"), "crf"),
    (("minimum_probability=0.2",), "minimum_probability"),
])  # fmt: skip
def test_other_settings_of_the_same_weights_are_refused(there: Tiny, words: tuple[str, ...], named: str) -> None:
    file = there.root / "theirs.ckpt"
    shutil.copyfile(there.run("short").checkpoints / "last.ckpt", file)
    given = ("dataset=toy", f"weights={file}", *NETWORK, *QUICK)
    there.call("predict", *given)
    with pytest.raises(InputError, match=rf"its masks were made with other settings \({named} in .*paths\.outputs="):
        there.call("predict", *given, *words)


# Places


def test_weights_of_one_name_do_not_share_a_folder(there: Tiny) -> None:
    files = [there.root / name / "last.ckpt" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        shutil.copyfile(there.run("short").checkpoints / "last.ckpt", file)
    touch_weights(files[1])
    for file in files:
        there.call("predict", "dataset=toy", f"weights={file}", *NETWORK, *QUICK)
    made = sorted((there.root / "outputs" / "toy" / "weights").iterdir())
    assert len(made) == 2 and all(re.fullmatch("last-[0-9a-f]{8}", path.name) for path in made)
    assert all(len(list(RunFolder(path).masks("validation").iterdir())) == VALIDATION for path in made)


@pytest.mark.parametrize("wss", ["cam", "truth"])
def test_a_report_finds_the_scores_of_the_given_masks(there: Tiny, wss: str) -> None:
    from dhr.stage.report import given_scores

    there.call("train", f"wss={wss}", "rebalancing=none", "dataset.max_epochs=1", f"name={wss}")
    folder = there.wss / "train" if wss == "cam" else there.layout.split("train") / "mask"
    assert given_scores(there.run(wss).root) is None
    there.call("evaluate", "dataset=toy", "split=train", f"masks={folder}")
    found = given_scores(there.run(wss).root)
    assert found is not None and read_json(found)["masks"] == str(folder)


# Nothing is removed before what takes its place is known to work

WRONG: dict[str, Callable[[Tiny], None]] = {
    "predict": lambda there: predict(there, "scales=[]", "overwrite=true"),
    "predict, image": lambda there: predict(there, "flip=true", "overwrite=true"),
    "extract_uss": lambda there: there.call("extract_uss", "uss.scales=[]", "overwrite=true"),
    "extract_uss, image": lambda there: there.call("extract_uss", "uss.flip=true", "overwrite=true"),
    "train_wss, tags": lambda there: there.call("train_wss", "seed=9", "overwrite=true"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_overwriting_that_cannot_work_leaves_all_as_it_is(there: Tiny, case: str) -> None:
    verb, _, broken = case.partition(", ")
    if broken == "image":
        there.layout.image(split := "validation" if verb == "predict" else "train", f"{split}_00000").write_bytes(b"")
    if broken == "tags":
        there.layout.tags("train", "train_00007").write_text("<annotation>")
    folder = folders(there)[verb]
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    with pytest.raises((InputError, IndexError, ValueError)):
        WRONG[case](there)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


def test_an_overwriting_that_stops_halfway_is_never_taken_as_whole(there: Tiny) -> None:
    image = there.layout.image("validation", "validation_00002")
    kept = image.read_bytes()
    image.write_bytes(b"")
    with pytest.raises(InputError, match=r"validation_00002\.jpg: "):
        predict(there, "flip=true", "overwrite=true")
    assert len(contents(there.run("short").masks("validation"))) == VALIDATION
    with pytest.raises(InputError, match="made with other settings"):
        there.call("evaluate", f"run={there.run('short').root}")
    image.write_bytes(kept)
    predict(there, "flip=true")
    there.call("evaluate", f"run={there.run('short').root}")
