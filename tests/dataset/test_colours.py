"""A mask whose colours were numbered anew is named by whoever looks at it; palettes that say nothing are let be."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audited import ID, findings, make, mask
from PIL import Image
from tiny import Tiny

from dhr.core.errors import InputError
from dhr.dataset.classes import bit_palette, load_classes
from dhr.dataset.colours import MaskColours
from dhr.disk.mask import encode_mask, mask_content, mask_values, read_mask, write_mask
from dhr.disk.png import palette_entries

TOY, VOC, ADE, CONTEXT = (load_classes(name) for name in ("toy", "voc", "ade", "context"))
GREYS = tuple((grey, grey, grey) for grey in range(256))
SAID = "its palette gives label . the colour of "


def png(values: np.ndarray, palette: object, **options: object) -> bytes:
    """A palette PNG with these entries and no others."""
    picture, buffer = Image.fromarray(values), io.BytesIO()
    picture.putpalette(bytes(np.asarray(palette, np.uint8)))
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def saved_anew(data: bytes, colours: int = 256) -> bytes:
    """What an editor does that counts the colours that occur."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(data)).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=colours)
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def drawn(*labels: int) -> np.ndarray:
    """Columns of labels, the first ones wider."""
    return np.repeat(np.repeat(labels, range(len(labels), 0, -1))[None], 8, axis=0).astype(np.uint8)


@pytest.mark.parametrize("table", [TOY, VOC, ADE, CONTEXT], ids=lambda table: str(table.name))
@pytest.mark.parametrize("labels", [(0, 3), (2, 0, 5), (4,), (9, 255), (0, 1, 2, 7, 255)], ids=str)
@pytest.mark.parametrize("colours", [256, 16])
def test_masks_that_an_editor_saved_anew_are_named(table: object, labels: tuple[int, ...], colours: int) -> None:
    assert isinstance(table, type(TOY))
    ours = encode_mask(drawn(*labels), table.palette)
    known, anew = MaskColours.of(table), saved_anew(ours, colours)
    values = mask_values(anew, Path("a.png"))
    assert not np.array_equal(values, drawn(*labels))
    assert known.problem(ours, drawn(*labels)) is None
    said = known.problem(anew, values)
    assert said is not None and re.match(SAID, said)
    assert known.problem(anew, np.unique(values)) == said  # one pixel of a kind is enough


FINE: dict[str, bytes] = {
    "the data set's": png(drawn(0, 3, 7), TOY.palette),
    "its first entries": png(drawn(0, 1), TOY.palette[:2]),
    "VOC's": png(drawn(0, 3, 7), bit_palette(256)),
    "VOC's for the labels that occur": png(drawn(0, 3), [*bit_palette(4), *TOY.palette[:2]]),
    "VOC's without black": png(drawn(0, 3, 7), bit_palette(255, first=1)),
    "VOC's without black, some of it": png(drawn(0, 3, 7), [*bit_palette(8, first=1), *TOY.palette[:2]]),
    "grey ramp": png(drawn(0, 3, 7), GREYS),
    "steep grey ramp": png(drawn(0, 3, 7), GREYS[::25]),
    "black": png(drawn(0, 3, 7), np.zeros((256, 3))),
    "one colour": png(drawn(0, 3, 7), [TOY.palette[4]] * 10),
    "somebody's own": png(drawn(0, 3, 7), [(label * 9, 250, label) for label in range(10)]),
    "own, partly ours": png(drawn(0, 3, 7), [TOY.palette[4], *[(label * 9, 250, label) for label in range(9)]]),
    "ours where nothing is": png(drawn(0, 3, 7), [(9, 8, 7), TOY.palette[4], *[(5 * at, 9, at) for at in range(8)]]),
    "only grey is elsewhere": png(drawn(0, 1), [(0, 0, 0), (128, 128, 128)]),
    "ignored in any colour": png(drawn(0, 3, 255), [*TOY.palette, *[TOY.palette[2]] * 246]),
}


@pytest.mark.parametrize("case", FINE)
@pytest.mark.parametrize("table", [TOY, VOC], ids=lambda table: str(table.name))
def test_other_palettes_say_nothing(table: object, case: str) -> None:
    assert isinstance(table, type(TOY))
    if (table is VOC and "ours" in case) or "data set" in case:
        table = TOY
    data = FINE[case]
    assert palette_entries(data) is not None
    assert MaskColours.of(table).problem(data, mask_values(data, Path("a.png"))) is None


def test_masks_without_a_palette_have_no_colours() -> None:
    buffer = io.BytesIO()
    Image.fromarray(drawn(0, 3)).save(buffer, "PNG")
    assert palette_entries(buffer.getvalue()) is None
    assert MaskColours.of(TOY).problem(buffer.getvalue(), drawn(0, 3)) is None


def test_the_palette_is_found_behind_other_chunks() -> None:
    data = png(drawn(0, 3), TOY.palette, dpi=(72, 72), transparency=bytes(10))
    assert palette_entries(data) == bytes(np.asarray(TOY.palette, np.uint8))


# Who looks


def of_wss(there: Tiny) -> Path:
    return there.wss / "train" / "train_00005.png"


def of_truth(there: Tiny) -> Path:
    return there.layout.mask("validation", "validation_00002")


@pytest.fixture
def there(tiny: Tiny, tmp_path: Path) -> Tiny:
    return tiny.copy(tmp_path)


@pytest.mark.parametrize("place", [of_wss, of_truth])
def test_training_and_scores_do_not_begin_with_such_a_mask(there: Tiny, place: Callable[[Tiny], Path]) -> None:
    path, split = place(there), "train" if place is of_wss else "validation"
    (there.wss / "train.files.jsonl").unlink()  # as of masks that were made elsewhere
    write_mask(path, np.sort(np.arange(48 * 48) % 3 * 2).reshape(48, 48).astype(np.uint8), TOY.palette)
    path.write_bytes(saved_anew(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path}: {SAID}.*; .*restore the original"):
        there.call("train", "wss=cam", "rebalancing=none")
    assert not (there.root / "outputs").exists()
    masks = there.wss / "train" if place is of_wss else there.layout.split("validation") / "mask"
    with pytest.raises(InputError, match=f"{path}: {SAID}"):
        there.call("evaluate", f"masks={masks}", "dataset=toy", f"split={split}")


def test_the_audit_names_them_and_counts_none_of_their_labels(tmp_path: Path) -> None:
    there = make(tmp_path)
    write_mask(mask(there), drawn(*[2] * 7, 5)[:, -32:].repeat(4, axis=0), TOY.palette)
    mask(there).write_bytes(saved_anew(mask_content(mask(there))))
    assert set(np.unique(read_mask(mask(there)))) == {0, 1}
    (said,) = (each for each in findings(there, broken=True) if each["severity"] == "broken")
    assert (said["kind"], said["id"]) == ("mask: palette", ID)
    assert re.match(SAID, said["problem"]) and "restore the original" in said["cure"]
