"""The page of a user's images: what it says of a mask."""

import numpy as np
from report_pages import TOY

from dhr.page.images import Card, classes_in
from dhr.page.render import render


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
