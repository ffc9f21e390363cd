"""Pages of docs whose examples are run as they stand there."""

import doctest
import re
from pathlib import Path
from typing import Any

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_examples(page: Path) -> None:
    """Runs every ```python block of a page, one after the other with the same names, in the working folder."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for number, text in enumerate(blocks):
        example = doctest.DocTestParser().get_doctest(text, names, f"{page.name}, block {number}", None, None)
        told: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        assert runner.run(example, out=told.append, clear_globs=False).failed == 0, "".join(told)
        names = example.globs
