"""Grounding DINO, SAM and SAM 3 with random weights, against what transformers itself makes of the same images."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from grounders_of import ALL, CPU, TASK, as_published, picture, saved_all
from torch import Tensor

from dhr.core.errors import InputError
from dhr.grounder.boxes import Boxes
from dhr.grounder.grounding_dino import BoxesFromNames, GroundingDino
from dhr.grounder.interface import Found, Task
from dhr.grounder.sam import Sam, Segmenter
from dhr.grounder.sam3 import InstancesFromNames, Sam3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_all(tmp_path_factory.mktemp("models"))


def grounding_dino(folders: dict[str, Path], task: Task = TASK, **settings: Any) -> BoxesFromNames:
    return GroundingDino(str(folders["grounding_dino"]), Sam(str(folders["sam"])), **settings).open(task)


def sam3(folders: dict[str, Path], task: Task = TASK, **settings: Any) -> InstancesFromNames:
    return Sam3(str(folders["sam3"]), **settings).open(task)


def whole(found: Found) -> Tensor:
    return torch.cat([*found.masks])


# Grounding DINO


def slow_boxes(finder: BoxesFromNames, pixels: Tensor) -> list[tuple[float, int, list[float]]]:
    """Score, label and corners of every box, text by text; a name's tokens are those between two dots."""
    boxes = []
    processor = transformers.GroundingDinoProcessor(finder.images, finder.tokenizer)
    for names in ({1: "cat", 2: "dining table", 3: "tv monitor", 4: "ember disc"}, {5: "azure ring cross"}):
        given = processor(images=pixels, text=" . ".join(names.values()) + " .", return_tensors="pt")
        with torch.no_grad():
            seen = finder.layers(**given)
        (made,) = processor.post_process_grounded_object_detection(
            seen, given["input_ids"], threshold=-1.0, target_sizes=[tuple(pixels.shape[1:])]
        )
        phrase, places = 0, dict[int, list[int]]()
        for place, token in enumerate(given["input_ids"][0].tolist()):
            if token == 1012:
                phrase += 1
            elif token not in (101, 102):
                places.setdefault(phrase, []).append(place)
        for logits, corners in zip(seen.logits[0], made["boxes"].tolist(), strict=True):
            fits = [max(float(logits[place].sigmoid()) for place in own) for own in places.values()]
            best = max(fits)
            boxes.append((best, [*names][fits.index(best)], corners))
    return boxes


@pytest.mark.parametrize("size", [(40, 50), (61, 33)])
def test_boxes_equal_a_slow_reference(folders: dict[str, Path], size: tuple[int, int]) -> None:
    pixels, finder = picture(*size), grounding_dino(folders)
    expected = slow_boxes(finder, pixels)
    scores = sorted(score for score, _, _ in expected)
    finder.threshold = (scores[4] + scores[5]) / 2
    made = finder.boxes("a", pixels, ALL, CPU)
    kept = sorted((box for box in expected if box[0] > finder.threshold), key=lambda box: -box[0])
    assert len(kept) == len(expected) - 5 == len(made.labels)
    assert made.labels.tolist() == [label for _, label, _ in kept]
    torch.testing.assert_close(made.scores, torch.tensor([score for score, _, _ in kept]))
    high, wide = size
    cut = [[min(max(corners[0], 0), wide), min(max(corners[1], 0), high), min(max(corners[2], 0), wide),
            min(max(corners[3], 0), high)] for _, _, corners in kept]  # fmt: skip
    torch.testing.assert_close(made.corners, torch.tensor(cut), rtol=1e-4, atol=1e-3)
    assert made.likeliest == kept[0][1]


def test_a_name_of_a_later_text_is_found_too(folders: dict[str, Path]) -> None:
    """Five names need two texts here; what is found for the fifth does not depend on the others."""
    finder, pixels = grounding_dino(folders, threshold=0.0), picture()
    assert [text.labels.tolist() for text in finder.texts(ALL)] == [[1, 2, 3, 4], [5]]
    made, alone = (finder.boxes("a", pixels, labels, CPU) for labels in (ALL, [5]))
    of_last = made.labels == 5
    assert len(alone.labels) == 8
    torch.testing.assert_close(made.scores[of_last], alone.scores)
    torch.testing.assert_close(made.corners[of_last], alone.corners)


def test_nothing_is_good_enough_but_one_is_the_likeliest(folders: dict[str, Path]) -> None:
    finder = grounding_dino(folders, threshold=1.0)
    found = finder("a", picture(), ALL, CPU)
    assert (len(found.labels), [*found.masks]) == (0, [])
    assert found.likeliest == grounding_dino(folders, threshold=0.0).boxes("a", picture(), ALL, CPU).labels[0]


def test_boxes_are_sorted_and_those_without_area_are_left_out() -> None:
    """By hand; of equal scores the first is first."""
    corners = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 5], [2, 2, 3, 3], [1, 1, 2, 2], [0, 3, 4, 3]])
    made = Boxes.sorted(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0.5, 0.9, 0.7, 0.5, 0.6]), corners, threshold=0.1)
    assert made.labels.tolist() == [3, 1, 4] and made.corners[0].tolist() == [2, 2, 3, 3] and made.likeliest == 2
    none = Boxes.sorted(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 4), threshold=0)
    assert none.likeliest is None and none.corners.shape == (0, 4)


# SAM

CORNERS = [
    [1.0, 2.0, 20.0, 30.0], [5.0, 5.0, 49.0, 39.0], [0.0, 0.0, 50.0, 40.0], [30.5, 1.5, 44.0, 22.0],
    [8.0, 9.0, 11.0, 12.0],
]  # fmt: skip


def boxes(corners: list[list[float]]) -> Boxes:
    count = len(corners)
    return Boxes(torch.arange(count), torch.linspace(0.9, 0.1, count), torch.tensor(corners), 0)


def segmenter(folder: Path, at_once: int = 32) -> Segmenter:
    return Sam(str(folder), at_once=at_once).open("grounder.segmenter")


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_masks_of_boxes_are_those_of_transformers(folders: dict[str, Path], at_once: int) -> None:
    """One box after the other, each with the image, as the examples of the library do it."""
    sam, pixels = segmenter(folders["sam"], at_once), picture()
    found = sam.masks_of(pixels, boxes(CORNERS))
    batches = [*found.masks]
    assert [len(batch) for batch in batches] == [min(at_once, 5 - start) for start in range(0, 5, at_once)]
    for probabilities, corners in zip(torch.cat(batches), CORNERS, strict=True):
        given = sam.processor(pixels, input_boxes=[[corners]], return_tensors="pt")
        with torch.no_grad():
            made = sam.layers(
                pixel_values=given["pixel_values"], input_boxes=given["input_boxes"].float(), multimask_output=False
            )
        sizes = given["original_sizes"], given["reshaped_input_sizes"]
        (logits,) = sam.processor.post_process_masks(made.pred_masks, *sizes, binarize=False)
        torch.testing.assert_close(probabilities, logits[0, 0].sigmoid(), rtol=1e-4, atol=1e-5)


def test_boxes_that_do_not_fit_into_memory_are_taken_in_smaller_parts(folders: dict[str, Path]) -> None:
    plain, frugal = segmenter(folders["sam"]), segmenter(folders["sam"])
    work, lengths = frugal.layers.forward, []

    def limited(**given: Any) -> Any:
        lengths.append(given["input_boxes"].shape[1])
        if lengths[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(**given)

    frugal.layers.forward = limited
    made = [*frugal.masks_of(picture(), boxes(CORNERS)).masks]
    assert lengths == [5, 2, 2, 1]
    torch.testing.assert_close(torch.cat(made), whole(plain.masks_of(picture(), boxes(CORNERS))), rtol=1e-4, atol=1e-5)


# SAM 3


def slow_instances(finder: InstancesFromNames, pixels: Tensor, threshold: float) -> list[tuple[float, int, Tensor]]:
    """Score, label and binary mask of every instance, name by name, as the library's own function makes them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(finder.folder.path)
    processor = transformers.Sam3Processor(finder.images, tokenizer)
    instances = []
    for label, word in finder.task.words.items():
        given = processor(images=pixels, text=word, return_tensors="pt")
        with torch.no_grad():
            seen = finder.layers(**{key: given[key] for key in ("pixel_values", "input_ids", "attention_mask")})
        (made,) = finder.images.post_process_instance_segmentation(
            seen, threshold=threshold, target_sizes=[tuple(pixels.shape[1:])]
        )
        instances += [(float(s), label, mask) for s, mask in zip(made["scores"], made["masks"], strict=True)]
    return sorted(instances, key=lambda one: -one[0])


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_instances_are_those_of_transformers(folders: dict[str, Path], at_once: int) -> None:
    pixels = picture()
    everything = sam3(folders, threshold=0.0)("a", pixels, ALL, CPU)
    assert len(everything.labels) == 5 * 6
    threshold = float(everything.scores[9:11].mean())
    finder = sam3(folders, threshold=threshold, at_once=at_once)
    found, expected = finder("a", pixels, ALL, CPU), slow_instances(finder, pixels, threshold)
    assert len(expected) == 10
    assert found.labels.tolist() == [label for _, label, _ in expected]
    torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in expected]), rtol=1e-4, atol=1e-6)
    probabilities = whole(found)
    unsure = (probabilities - 0.5).abs() < 1e-4
    masks = torch.stack([mask for _, _, mask in expected]).bool()
    assert bool(((probabilities > 0.5) == masks)[~unsure].all()) and float(unsure.float().mean()) < 0.01
    assert found.likeliest == expected[0][1]


def test_fewer_names_find_the_same_of_theirs(folders: dict[str, Path]) -> None:
    finder = sam3(folders, threshold=0.0)
    all_of_them, some = (finder("a", picture(), labels, CPU) for labels in (ALL, [2, 5]))
    chosen = (all_of_them.labels == 2) | (all_of_them.labels == 5)
    torch.testing.assert_close(some.scores, all_of_them.scores[chosen], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(whole(some), whole(all_of_them)[chosen], rtol=1e-4, atol=1e-5)


def test_names_that_do_not_fit_into_memory_together_are_looked_for_one_by_one(folders: dict[str, Path]) -> None:
    plain, frugal = sam3(folders, threshold=0.0), sam3(folders, threshold=0.0)
    work, lengths = frugal.layers.forward, []

    def limited(**given: Any) -> Any:
        lengths.append(len(given["attention_mask"]))
        if lengths[-1] > 1:
            raise MemoryError("none left")
        return work(**given)

    frugal.layers.forward = limited
    made, expected = frugal("a", picture(), ALL, CPU), plain("a", picture(), ALL, CPU)
    assert lengths == [5, 2, 1, 1, 1, 1, 1]
    torch.testing.assert_close(made.scores, expected.scores, rtol=1e-4, atol=1e-6)


def test_the_model_as_it_is_published_is_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    """There it is a part of the one for videos."""
    published = {"sam3": as_published(Path(shutil.copytree(folders["sam3"], tmp_path / "published")))}
    given, expected = (sam3(each, threshold=0.0)("a", picture(), ALL, CPU) for each in (published, folders))
    assert torch.equal(given.scores, expected.scores) and torch.equal(whole(given), whole(expected))


@pytest.mark.parametrize(("name", "said"), [
    ("w" * 40, r"class 'w+': 42 tokens; this model reads at most 32, write a shorter name"),
    ("CAT", r"class 'cat': the same to this model as another one"),
])  # fmt: skip
def test_names_that_sam3_cannot_be_asked_for(folders: dict[str, Path], name: str, said: str) -> None:
    finder = sam3(folders, Task(("background", "cat", name), 1, (), TASK.size_of, place="wss.recipe.grounder"))
    with pytest.raises(InputError, match=rf"wss\.recipe\.grounder\.weights: {said}"):
        finder("a", picture(), [1], CPU)
