"""Every method on real photographs of every data set: from the original download to masks of its classes."""

from pathlib import Path

import pytest
from image_text_of import saved_model
from PIL import Image
from samples import REAL
from tiny import Tiny

from dhr.config.compose import compose
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.dataset.split import Split
from dhr.disk.ledger import Ledger
from dhr.disk.mask import read_mask
from dhr.stage.parts import open_split, wss_masks

IMAGES, SIDE = 2, 160  # of the training split; longer side of the photographs
SMALL = (
    "dataset.crop_size=64", "dataset.long_side=[60,80]", "dataset.batch_size=2", "dataset.workers=0", "crf=none",
    "cam=scratch", "cam.epochs=1", "cam.backbone.widths=[8,16,16,16]", "cam.scales=[0.5]", "cam.flip=false",
    "backbone=resnet18_half", "backbone.widths=[8,16,16,16]", "optimizer=adamw", "trainer.accelerator=cpu",
    "decoder=deeplabv3plus_small", "decoder.channels=16", "decoder.low_level_channels=8", "dataset.max_epochs=1",
)  # fmt: skip
METHODS: dict[str, tuple[str, ...]] = {
    "cam": (),
    "scg": (),
    "irn": ("wss.recipe.epochs=1", "wss.recipe.walk.radius=2", "wss.recipe.walk.doublings=1"),
    "mars": ("wss.recipe.scales=[0.5]", "wss.recipe.flip=false", "wss.recipe.start_epoch=0"),
    "rsepm": ("wss.recipe.epochs=2", "wss.recipe.scales=[0.5]", "wss.recipe.flip=false"),
    "text": ("wss.recipe.scales=[0.5]", "wss.recipe.flip=false"),
}


@pytest.mark.long
@pytest.mark.parametrize("dataset", REAL)
def test_from_the_download_to_masks(tmp_path: Path, shared: Path, dataset: str) -> None:
    there, chosen, table = Tiny(tmp_path), f"dataset={dataset}", load_classes(dataset)
    there.call(
        "prepare",
        chosen,
        f"source={REAL[dataset](tmp_path, shared / 'samples')}",
        f"limit={IMAGES}",
        f"+dataset.image_size={SIDE}",
    )
    there.call("extract_uss", chosen, "uss=colour")
    model = f"wss.recipe.name={saved_model(tmp_path / 'model', 'clip')}"
    for method, settings in METHODS.items():
        words = [chosen, f"wss={method}", "uss=colour", *SMALL, *settings, *([model] if method == "text" else [])]
        if method == "mars" and not table.has_background:
            with pytest.raises(InputError, match="needs a background class"):
                there.call("train_wss", *words)
            continue
        there.call("train_wss", *words)
        cfg = compose("train_wss", there.words("train_wss", *words))
        split = open_split(cfg, cfg.dataset.splits.train)
        check_masks(wss_masks(cfg, split.name).folder, split)


def check_masks(folder: Path, split: Split) -> None:
    """Of every image, in the colours of the data set, of the classes of its tags alone, and written down."""
    known, ids, table = Ledger(folder).read(), split.all_ids(), split.table
    assert known is not None and len(ids) == IMAGES == len([*folder.iterdir()])
    colours = [value for colour in table.palette for value in colour]
    for image_id in ids:
        path, sources = (
            folder / f"{image_id}.png",
            [path(split.name, image_id) for path in (split.layout.image, split.layout.tags)],
        )
        assert known.problem(path, sources=sources, name=path.name, given="") is None
        mask, tags = read_mask(path), split.tags(image_id).nonzero()[:, 0] + table.first_tag
        assert mask.shape == split.pixels(image_id).shape[1:]
        assert {*mask.flatten().tolist()} <= {*range(table.first_tag), *tags.tolist()}
        with Image.open(path) as picture:
            assert picture.mode == "P" and (picture.getpalette() or [])[: len(colours)] == colours
