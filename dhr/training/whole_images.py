"""Whole training images, for labels that are made or scored outside a step."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dhr.core.sample import Sample
from dhr.dataset.split import MaskFolder, Split, TrainDataset, whole_sample
from dhr.disk.feature_store import FeatureStore


@dataclass(frozen=True)
class WholeImages:
    """Training images, whole and unaugmented, with the WSS masks as given."""

    split: Split
    ids: Sequence[str]
    wss_masks: MaskFolder
    features: FeatureStore | None
    stride: int

    @classmethod
    def of(cls, train: TrainDataset, wss_masks: MaskFolder, *, stride: int, most: int | None = None) -> "WholeImages":
        """The images whose crops are trained on, or the first `most` of them; one USS cell per `stride` pixels."""
        ids = [train.split.id(int(position)) for position in train.indices[:most]]
        return cls(train.split, ids, wss_masks, train.features, stride)

    def sample(self, image_id: str) -> Sample:
        """The whole image with tags, WSS mask and features, without augmentation."""
        return whole_sample(self.split, image_id, wss_masks=self.wss_masks, features=self.features, stride=self.stride)

    def truth(self, image_id: str) -> Tensor | None:
        """The human mask of an image, for monitoring only; None where there is none."""
        masks = self.split.truths
        return masks.read(image_id, self._size(image_id)) if masks.path(image_id).exists() else None

    def look_at_truth(self) -> None:
        """Opens every existing human mask once: a broken one would end a training after its first epoch.

        Raises:
            InputError: one is broken, of another size, or holds other labels than the classes.
        """
        masks = self.split.truths
        for image_id in (image_id for image_id in self.ids if masks.path(image_id).exists()):
            masks.look(image_id, self._size(image_id))

    def _size(self, image_id: str) -> tuple[int, int]:
        height, width = self.split.pixels(image_id).shape[1:]
        return height, width
