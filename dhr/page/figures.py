"""The charts of a report as SVG files and rows of images as PNG files, for a paper."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dhr.core.errors import InputError
from dhr.core.words import nearest, word
from dhr.disk.atomic import write_atomically
from dhr.disk.image import read_image
from dhr.evaluation.gallery import encoded, overlay
from dhr.evaluation.tables import percent
from dhr.page.block_charts import BlockChart
from dhr.page.explorer import Explored, maps_of, mean_iou
from dhr.page.line_chart import Chart
from dhr.page.pictures import class_ious
from dhr.page.render import file_stem, templates
from dhr.page.report import Report

GAP, HEAD, LETTER = 8, 26, 15  # pixels between two pictures, above them, and of the letters there
PHOTOGRAPH = "photograph"


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder that holds something already, before anything is read.

    Raises:
        InputError: it does, and `overwrite` does not say that files of the same names are to be replaced.
    """
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{word('figures', folder)}: is there already; name another folder, or add overwrite=true")


def check_rows(rows: Sequence[str] | None, known: Sequence[str]) -> None:
    """Refuses ids that no row can be drawn of, before anything is scored.

    Args:
        rows: ids of the user.
        known: of the images that have both a prediction and a truth.

    Raises:
        InputError: an id is none of them.
    """
    for image_id in rows or ():
        if image_id not in known:
            raise InputError(
                f"{word('rows', image_id)}: no image of this id has both a prediction and a truth; "
                f"{nearest(image_id, known)}the search of report.html finds ids"
            )


def write_figures(folder: Path, report: Report, *, rows: Sequence[str] | None) -> int:
    """Writes every chart as <folder>/<chart>.svg and rows of images as <folder>/rows/<id>.png.

    Args:
        folder: where to; files of the same names are replaced.
        report: what is written.
        rows: ids of the images; None: the worst and the best ones.

    Returns:
        The number of files.

    Raises:
        InputError: an id has no prediction with a truth.
    """
    explored = report.explored
    ids = _extremes(explored) if rows is None else list(rows)
    check_rows(rows, explored.ids if explored else ())
    charts: dict[str, Chart | BlockChart] = {}
    for chart in report.charts:
        name = file_stem(chart.title)
        charts[name if name not in charts else f"{name}-{len(charts)}"] = chart
    for name, chart in charts.items():
        write_atomically(folder / f"{name}.svg", svg_of(chart).encode("utf-8", "replace"))
    for image_id in ids:
        if explored is not None:
            write_atomically(folder / "rows" / f"{image_id}.png", row_png(explored, image_id))
    return len(charts) + len(ids)


def svg_of(chart: Chart | BlockChart) -> str:
    """A chart as an SVG document of its own, in print colours, with its title and its legend."""
    macros = templates().get_template("svg.html.j2").module
    draw = macros.line_plot if isinstance(chart, Chart) else macros.block_plot  # type: ignore[attr-defined]
    return f"{str(draw(chart, True)).strip()}\n"


def row_png(explored: Explored, image_id: str) -> bytes:
    """The photograph and every map of it side by side at full size, each under its name and its mIoU.

    Raises:
        InputError: a file is missing or broken.
    """
    if explored.data is None:
        raise InputError(f"rows: {image_id}: the data set is not on this machine; paths.data says where it has to be")
    image = read_image(explored.data.layout.image(explored.split, image_id))
    maps = maps_of(image_id, image, explored.sources)
    pictures, titles = [image], [PHOTOGRAPH]
    for place, mask in maps.items():
        source = explored.sources[place]
        score = f"  {percent(mean_iou(class_ious(mask, maps[0])))}" if source.slot is not None else ""
        pictures.append(overlay(image, mask, explored.data.classes.palette))
        titles.append(f"{source.name}{score}")
    height, width = image.shape[:2]
    canvas = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height + HEAD), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LETTER)
    for place, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left = place * (width + GAP)
        canvas.paste(Image.fromarray(picture), (left, HEAD))
        pen.text((left, HEAD - 6), shortened(title, width, font), fill="black", font=font, anchor="ls")
    return encoded(np.asarray(canvas), "PNG")


def shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The longest beginning of a text that is not wider than `width` pixels."""
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text


def _extremes(explored: Explored | None) -> list[str]:
    return [image_id for ids in (explored.extremes().values() if explored else ()) for image_id in ids]
