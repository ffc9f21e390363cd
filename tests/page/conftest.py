"""A report and a browser that shows it, for all tests of this folder: both take seconds to make."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, browser
from report_pages import NAMES, ODD, RECORD, TOY, add_predictions, draw_scene, make_run, png_of

from dhr.disk.atomic import write_atomically, write_json
from dhr.disk.layout import DataLayout, RunFolder
from dhr.disk.mask import write_mask
from dhr.page.report import write_report


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two runs on classes of hostile names."""
    root = tmp_path_factory.mktemp("report")
    saw = {"saw": {"backbone": "I", "wss": "S", "uss": "nothing"}}
    run, other = make_run(root / "run", record={**RECORD, **saw, "tau": 0.5}), make_run(root / "other")
    add_predictions(run)
    add_predictions(other, shift=2, images=9)
    layout = DataLayout(root / "data", "Toy")
    shutil.rmtree(layout.tags("validation", "x").parent)
    image, truth = draw_scene(3)
    truth[20:] = 255
    write_atomically(layout.image("validation", ODD).with_suffix(".png"), png_of(image))
    write_mask(layout.mask("validation", ODD), truth, TOY.palette)
    write_mask(RunFolder(run).masks("validation") / f"{ODD}.png", np.full_like(truth, 7), TOY.palette)
    write_json(layout.home / "Toy.json", {"names": list(NAMES), "ignore": 255})
    for folder in (run, other):
        config = RunFolder(folder).config
        config.write_text(config.read_text().replace("classes: toy", "classes: own"))
    return write_report(run, compare=[other])


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests: it takes seconds to start."""
    with browser(tmp_path_factory.mktemp("browser") / "chromium") as found:
        yield found


@pytest.fixture
def page(opened: Browser, made: Path) -> Iterator[Browser]:
    """The report, opened anew; nothing that a test does may make the page complain."""
    opened.open(made)
    yield opened
    assert opened.complaints == []
    assert opened.run("typeof hacked") == "undefined"
