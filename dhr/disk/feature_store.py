"""Feature files of one split: <folder>/<id>.pt, the form of the published downloads, or <id>.safetensors.

Beside the folder lies <folder>.json, the record of what the files were made with, and the ledger of dhr.disk; released
features have neither.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from dhr.core.cells import patch_grid
from dhr.core.errors import InputError
from dhr.disk.atomic import read_json, write_atomically
from dhr.disk.feature_file import FORMS, Form, Shape, encode, shape_in, values_in


@dataclass(frozen=True)
class FeatureStore:
    """Reads and writes the features of one split.

    Attributes:
        folder: where the files lie.
        cure: how to get them, for messages.
        form: how files are written; both forms are read.
    """

    folder: Path
    cure: str
    form: Form = "pt"

    @property
    def record(self) -> Path:
        """What the features were made with."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def basis(self) -> Path:
        """Directions that the features were projected on, where fewer are kept than the model gives."""
        return self.folder.with_name(f"{self.folder.name}_components.safetensors")

    def path(self, image_id: str) -> Path:
        """File of one image: the one that is there, else the one that would be written."""
        own, other = self._files(image_id)
        return other if other.exists() and not own.exists() else own

    def write(self, image_id: str, features: Tensor) -> None:
        """Stores (D,h,w) as fp16, atomically."""
        write_atomically(self._files(image_id)[0], encode(features, self.form))

    def is_double(self, image_id: str) -> bool:
        """Whether an image has files of both forms."""
        return all(path.exists() for path in self._files(image_id))

    def look(self, image_id: str, size: tuple[int, int] | None = None, *, channels: int | None = None) -> Shape:
        """Makes sure that the file of an image is there, whole and fitting, without reading its numbers.

        Args:
            image_id: of the image.
            size: (height, width) of the image, None where it is not known.
            channels: of the first file of the split, None where this is it.

        Returns:
            Its shape.

        Raises:
            InputError: missing, in both forms, truncated, no tensor of three axes, or of another image or model.
        """
        path = self._the_file(image_id)
        shape = shape_in(path, self.cure)
        self._refuse_misfit(path, shape, size)
        if channels is not None and shape[0] != channels:
            raise InputError(
                f"{path}: {shape[0]} channels: the first file of the split has {channels}; features of two models "
                f"are mixed here: delete those of one and {self.cure}"
            )
        return shape

    def read(self, image_id: str, size: tuple[int, int] | None = None) -> Tensor:
        """(D,h,w) fp16.

        Raises:
            InputError: as `look`, and where a number is NaN or infinite.
        """
        path = self._the_file(image_id)
        values = values_in(path, self.cure)
        self._refuse_misfit(path, (values.shape[0], values.shape[1], values.shape[2]), size)
        return values

    def mismatch(self, shape: Shape, size: tuple[int, int] | None) -> str | None:
        """Why features of a shape (D,h,w) cannot belong to an image of `size` (height, width), None where they can.

        Where a record says how they were made, the grid has to be exactly the one that follows from it. Released
        features have no record: one number of cells per pixel has to fit both sides, each to within a cell.
        """
        made = self._made
        if made is not None and shape[0] != made.channels:
            return f"{shape[0]} channels: expected {made.channels} by {self.record}"
        if size is None:
            return None
        stated = f"grid of {shape[1]} x {shape[2]} for an image of {size[0]} x {size[1]} (height x width)"
        if made is not None:
            grid = patch_grid(size, scale=made.scale, patch=made.patch)
            return None if shape[1:] == grid else f"{stated}: expected {grid[0]} x {grid[1]}"
        sides = list(zip(shape[1:], size, strict=True))
        if max((cells - 1) / side for cells, side in sides) < min((cells + 1) / side for cells, side in sides):
            return None
        return f"{stated}: expected a grid of the shape of the image"

    def _files(self, image_id: str) -> tuple[Path, Path]:
        """The two files that may hold an image's features: in the form that is written, and in the other."""
        other = next(form for form in FORMS if form != self.form)
        return self.folder / f"{image_id}.{self.form}", self.folder / f"{image_id}.{other}"

    def _the_file(self, image_id: str) -> Path:
        if self.is_double(image_id):
            own, other = self._files(image_id)
            raise InputError(f"{own}: {other.name} lies beside it: which of them counts? delete one of the two")
        return self.path(image_id)

    def _refuse_misfit(self, path: Path, shape: Shape, size: tuple[int, int] | None) -> None:
        problem = self.mismatch(shape, size)
        if problem is not None:
            raise InputError(f"{path}: {problem}; delete it and {self.cure}")

    @cached_property
    def _made(self) -> "StoreRecord | None":
        return StoreRecord.of(self.record) if self.record.exists() else None


@dataclass(frozen=True)
class StoreRecord:
    """What a record says about the shape of features: channels, largest scale, pixels of the patch."""

    channels: int
    scale: float
    patch: int

    @classmethod
    def of(cls, path: Path) -> "StoreRecord":
        """From a record.

        Raises:
            InputError: it is none.
        """
        record = read_json(path)
        try:
            return cls(int(record["channels"]), float(max(record["scales"])), int(record["patch_size"]))
        except (KeyError, TypeError, ValueError) as error:
            cure = "restore it, or extract into another uss.store"
            raise InputError(f"{path}: not a record of features ({type(error).__name__}: {error}); {cure}") from None
