"""Weights of a trained network as one file of tensors, for `python -m dhr.predict weights=<file>`.

Usage: python scripts/export_weights.py <run folder, or checkpoint> <file.safetensors> [--released]
What is written are the averaged weights, those that the run predicts with. --released writes the names of the official
release (ResNet or Wide-ResNet-38 with a DeepLab decoder), for programs that read it.
"""

import argparse
import sys
from pathlib import Path

from safetensors.torch import save

from dhr.core.errors import InputError
from dhr.disk.atomic import write_atomically
from dhr.disk.layout import RunFolder
from dhr.network.released_names import to_released
from dhr.network.weights import CELLS, read_network


def export(source: Path, file: Path, *, released: bool) -> None:
    """Writes the weights of a run, or of a checkpoint, to `file`.

    Raises:
        InputError: no readable checkpoint there, another suffix, or parts that no released network has.
    """
    if file.suffix != ".safetensors":
        raise InputError(f"{file}: not a name for such weights; use {file.with_suffix('.safetensors')}")
    found = read_network(RunFolder(source).last if source.is_dir() else source)
    named = to_released(found.weights) if released else found.weights
    cells = next(word for word, cells in CELLS.items() if cells == found.cells)
    write_atomically(file, save({name: value.contiguous() for name, value in named.items()}, {"cells": cells}))


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("source", type=Path, help="run folder, or a checkpoint")
    parser.add_argument("file", type=Path, help="file to write, *.safetensors")
    parser.add_argument("--released", action="store_true", help="under the names of the official release")
    words = parser.parse_args()
    try:
        export(words.source, words.file, released=words.released)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
