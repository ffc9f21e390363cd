"""Where every file lies that the stages exchange."""

import os
from dataclasses import dataclass
from pathlib import Path

from dhr.core.errors import InputError
from dhr.disk.atomic import read_object
from dhr.disk.file_names import IDS, IMAGES, UNUSABLE, file_of, names_in, printable


@dataclass(frozen=True)
class DataLayout:
    """Where the images, masks and tags of one data set lie: <root>/<folder>/<split>/{image,mask,xml}/."""

    root: Path
    folder: str

    @property
    def home(self) -> Path:
        """Folder of the data set."""
        return self.root / self.folder

    def split(self, split: str) -> Path:
        """Folder of a split."""
        return self.home / split

    def image(self, split: str, image_id: str) -> Path:
        """Path of an image, whatever its ending and the case of that; .jpg where there is none."""
        return file_of(self.split(split) / "image", image_id, IMAGES)

    def mask(self, split: str, image_id: str) -> Path:
        """Path of the human mask."""
        return self.split(split) / "mask" / f"{image_id}.png"

    def tags(self, split: str, image_id: str) -> Path:
        """Path of the annotation whose object names are the tags."""
        return self.split(split) / "xml" / f"{image_id}.xml"

    def ids(self, split: str) -> list[str]:
        """Sorted ids of the images of a split, each once.

        Raises:
            InputError: the folder is missing or holds no image, a name is not UTF-8 or has control characters, or two
                images have one id.
        """
        names: dict[str, str] = {}
        for name in self.image_names(split):
            image_id = os.path.splitext(name)[0]
            if image_id in names:
                path = printable(str(self.split(split) / "image" / name))
                raise InputError(f"{path}: {names[image_id]} has the same id; delete one of the two")
            if UNUSABLE.search(name):
                path = printable(str(self.split(split) / "image" / name))
                raise InputError(
                    f"{path}: a name that is not UTF-8, or has control characters, is no id; "
                    f"rename the image, its mask and its XML: {IDS}"
                )
            names[image_id] = name
        return sorted(names)

    def image_names(self, split: str) -> list[str]:
        """Sorted names of the images of a split, whether they are usable or not.

        Raises:
            InputError: the folder is missing or holds no image.
        """
        folder = self.split(split) / "image"
        if not folder.is_dir():
            raise InputError(
                f"split={split}: no folder {folder}; make it with python -m dhr.prepare dataset=..., "
                f"or point paths.data (or DHR_DATA) to the folder that holds {self.folder}/"
            )
        names = sorted(names_in(folder, IMAGES))
        if not names:
            raise InputError(f"split={split}: {folder} holds no image; run python -m dhr.prepare again")
        return names


@dataclass(frozen=True)
class RunFolder:
    """Paths of all files of one training run."""

    root: Path

    @property
    def config(self) -> Path:
        """The complete configuration of the run."""
        return self.root / "config.yaml"

    @property
    def record(self) -> Path:
        """What ran, with what, for how long, and whether it finished."""
        return self.root / "run.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.record.exists() and read_object(self.record).get("status") == "finished"

    def failed(self, rank: int) -> Path:
        """At which images the run was when an error ended it, as a process saw it."""
        return self.root / f"failed-{rank}.json"

    @property
    def metrics(self) -> Path:
        """Logged scalars over steps."""
        return self.root / "metrics.csv"

    @property
    def wandb(self) -> Path:
        """Which run in wandb belongs to this one."""
        return self.root / "wandb.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning checkpoints."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def gallery(self) -> Path:
        """Folder of the pictures that training saved for the report."""
        return self.root / "gallery"

    @property
    def report(self) -> Path:
        """The self-contained HTML report."""
        return self.root / "report.html"

    def labels(self, number: int) -> Path:
        """Folder of the labels of all training images that were made in a round; rounds count from 0."""
        return self.root / "labels" / f"round_{number}"

    def label_scores(self, split: str) -> Path:
        """Scores of labels that several options make of a split; the labels themselves lie in a folder of its name."""
        return self.root / "labels" / f"{split}.json"

    def masks(self, split: str) -> Path:
        """Folder of the predictions of a split."""
        return self.root / "masks" / split

    def images(self, name: str) -> Path:
        """Folder of what is predicted of the user's own images, by the name of their folder."""
        return self.root / "images" / name

    def scores(self, split: str) -> Path:
        """Scores of the predictions of a split."""
        return self.root / "scores" / f"{split}.json"


def scores_beside(masks: Path, split: str, kind: str = "scores") -> Path:
    """Scores of a folder of masks that belongs to no run: one file for each folder and split, beside the folder.

    `kind` is the last word of its name: `powers` for scores of soft maps.
    """
    folder = Path(os.path.abspath(masks))
    return folder.with_name(f"{split}.{kind}.json" if folder.name == split else f"{folder.name}.{split}.{kind}.json")


def probes_path(weights: Path) -> Path:
    """Where train_uss leaves the cluster probes of a head."""
    return weights.with_name(f"{weights.stem}_probes.safetensors")
