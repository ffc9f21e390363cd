"""The page of a user's images: what it says of a mask."""

from pathlib import Path

import numpy as np
from report_pages import TOY
from untrained import untrained_run

from dhr.config.compose import compose
from dhr.page.images import Card, classes_in
from dhr.page.render import render
from dhr.stage.source import Source


def test_classes_of_ones_own_bear_the_name_of_their_data_set(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace("classes: toy", "classes: own").replace("  name: toy", "  name: pets"), "utf-8")
    table = Source.of(compose("predict", [f"run={run.root}"])).table()
    assert (table.name, table.names) == ("pets", TOY.names)


def test_a_trace_of_a_class_is_not_called_nothing() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:50], mask[50, 0] = 1, 2
    classes = classes_in(mask, TOY)
    assert [(name, share) for _, name, _, share in classes] == [(TOY.names[1], 50.0), (TOY.names[2], 0.01)]
    legend = [(label, name, colour, 1) for label, name, colour, _ in classes]
    card = Card("a", "data:,", (100, 100), classes, {"image": "a.jpg", "mask": "a.png"}, None)
    page = render(
        "images.html.j2", name="mine", root="mine", table=TOY, total=1, cards=[card], legend=legend, nothing=0,
        wrong=[], command="",
    ).decode()  # fmt: skip
    assert f"{TOY.names[1]} 50.0 %" in page and f"{TOY.names[2]} &lt; 0.1 %" in page
