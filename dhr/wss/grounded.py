"""Masks from tags through an open-vocabulary model, which is asked for the tags of each image; nothing is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from dhr.dataset.split import Split
from dhr.disk.image import image_size
from dhr.grounder.interface import Grounder, Task
from dhr.grounder.paint import mask_of

if TYPE_CHECKING:  # they bring Lightning, for which `dhr.ground` should not wait
    from dhr.wss.recipe import Step
    from dhr.wss.workshop import Workshop


@dataclass(frozen=True)
class GroundedRecipe:
    """What finds the tags of an image in it.

    Attributes:
        grounder: the model, or where its boxes are.
    """

    seen: ClassVar[tuple[str, ...]] = ("recipe",)
    of_masks: ClassVar[frozenset[str]] = frozenset()

    grounder: Grounder

    def steps(self, workshop: "Workshop") -> Sequence["Step"]:
        """See `Recipe`: the masks. Neither seed nor CRF, nor how crops are cut, decides anything of them."""
        from dhr.wss.steps import Products

        split, folder = workshop.wanted, workshop.folder
        task = task_of(split, "wss.recipe.grounder")
        finder = self.grounder.open(task)

        def masks(ids: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
            for image_id in ids:
                pixels, labels = split.pixels(image_id), tags_of(split, image_id)
                yield image_id, mask_of(finder, task, image_id, pixels, labels, workshop.device)

        def settings() -> dict[str, object]:
            return {**finder.settings(), "words": [*task.words.values()]}

        return [Products(workshop, "masks", split, folder, masks, settings, last=True, given=finder.given)]


def task_of(split: Split, place: str) -> Task:
    """The images and classes of a split, for a grounder that the key `place` describes."""
    return Task(
        names=split.table.names,
        first=split.table.first_tag,
        ids=split.all_ids(),
        size_of=lambda image_id: image_size(split.layout.image(split.name, image_id)),
        place=place,
    )


def tags_of(split: Split, image_id: str) -> list[int]:
    """Labels of the tags of an image, rising."""
    labels: list[int] = (split.tags(image_id).nonzero()[:, 0] + split.table.first_tag).tolist()
    return labels
