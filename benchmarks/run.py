"""The performance table: `make bench`, or python benchmarks/run.py [--quick].

Every ratio is taken side by side in one run. Writes results.json, results.txt and growth.html
beside this file.
"""

import json
import platform
import sys
import tempfile
from pathlib import Path

import crfs
import evaluate_memory
import relabel
import stages
import torch
import uss_extract
import uss_store
from measuring import Row, source_of_pictures, table

from dhr.page.line_chart import Line, line_chart
from dhr.page.render import templates
from dhr.runtime.pools import cores

RESULTS = Path(__file__).parent
GROWTH = """{% extends "page.html.j2" %}{% from "macros.html.j2" import line_chart %}
{% block title %}growth{% endblock %}
{% block main %}<div class="grid">{% for chart in charts %}{{ line_chart(chart) }}{% endfor %}</div>{% endblock %}
"""


def hardware() -> dict[str, str]:
    """What the numbers were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": str(cores()),
        "gpu": gpu,
        "torch": torch.__version__,
        "pictures": source_of_pictures(),
    }


def main() -> int:
    """Measures, prints, writes."""
    quick = "--quick" in sys.argv[1:]
    images, rounds, pairs = (2, 1, 100) if quick else (16, 2, 1449)
    rows: list[Row] = relabel.against_plain(images, 1 if quick else 2) + relabel.against_step(5)
    rows += crfs.parity(2 if quick else 8) + crfs.engines(2 if quick else 4, 3)
    with tempfile.TemporaryDirectory() as folder:
        split = stages.make_split(Path(folder), pairs)
        rows += stages.predict(split, 6 if quick else 24) + stages.evaluate(split, 3) + stages.loader(split, 3)
        rows += uss_extract.extraction(split, 2 if quick else 8, 1 if quick else 3)
    rows += uss_extract.on_the_fly(2, 1 if quick else 3) + uss_store.store(1 if quick else 5)
    rows += stages.start(3) + evaluate_memory.rows()
    more, curves = relabel.growth(rounds)
    rows += more
    made = {"hardware": hardware(), "rows": [row.as_json() for row in rows], "growth": curves}
    (RESULTS / "results.json").write_text(json.dumps(made, indent=1) + "\n")
    text = "\n".join([", ".join(f"{key}: {value}" for key, value in hardware().items()), table(rows)])
    (RESULTS / "results.txt").write_text(text + "\n")
    (RESULTS / "growth.html").write_text(_page(curves))
    print(text)
    return 0


def _page(curves: dict[str, list[tuple[int, float]]]) -> str:
    by_pixels = [(float(side**2), seconds) for side, seconds in curves["side"]]
    by_classes = [(float(count), seconds) for count, seconds in curves["classes"]]
    charts = [
        line_chart([Line("3 classes", 0, by_pixels)], title="seconds by pixels, 3 classes", x_label="pixels",
                   description="Time to relabel one image, crf=native in one thread."),
        line_chart([Line("256 x 256 pixels", 0, by_classes)], title="seconds by classes, 256 x 256", x_label="classes",
                   description="Time to relabel one image, crf=native in one thread."),
    ]  # fmt: skip
    return templates().from_string(GROWTH).render(charts=charts)


if __name__ == "__main__":
    sys.exit(main())
