"""What is pasted, what is labelled and which tags remain, by hand."""

import pytest
import torch

from dhr.core.labels import IGNORE
from dhr.wss.class_mix import Mixed, class_mix, half_of

E = IGNORE


def mix(labels: list[list[int]], tags: list[list[float]], *, first_tag: int = 1, seen: int = 4) -> Mixed:
    """Crops of one row of pixels; crop k is k everywhere, its map of tag t is k + t / 10."""
    count, width = len(labels), len(labels[0])
    image = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 3, 1, width)
    maps = image[:, :1] + torch.arange(len(tags[0])).view(1, -1, 1, 1) / 10
    valid = torch.arange(width).expand(count, 1, width) < seen
    return class_mix(image, torch.tensor(labels)[:, None], maps, torch.tensor(tags), valid=valid, first_tag=first_tag)


def test_an_object_is_pasted_with_its_labels_its_map_and_its_tag() -> None:
    mixed = mix([[0, 1, 1, E], [2, 0, 2, E]], [[1.0, 0.0], [0.0, 1.0]])
    assert mixed.image[:, 0, 0].tolist() == [[1, 0, 1, 0], [1, 0, 0, 1]]
    assert mixed.labels[:, 0].tolist() == [[2, 1, 2, E], [2, 1, 1, E]]
    assert mixed.tags.tolist() == [[1, 1], [1, 1]]
    # The map of the pasted tag comes along, those of others are 0 where it lies.
    torch.testing.assert_close(mixed.maps[0, :, 0], torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.1, 0.1, 1.1, 0.1]]))
    torch.testing.assert_close(mixed.maps[1, :, 0], torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.1, 0.0, 0.0, 1.1]]))


def test_a_tag_goes_where_its_object_is_covered() -> None:
    mixed = mix([[0, 1, 0, 0], [0, 2, 2, 0]], [[1.0, 0.0], [0.0, 1.0]])
    assert mixed.labels[:, 0].tolist() == [[0, 2, 2, 0], [0, 1, 2, 0]]
    assert mixed.tags.tolist() == [[0, 1], [1, 1]]


def test_a_tag_without_a_label_may_be_there_all_the_same() -> None:
    mixed = mix([[0, E, E, 0], [0, 2, 0, 0]], [[1.0, 0.0], [0.0, 1.0]])
    assert mixed.labels[:, 0].tolist() == [[0, 2, E, 0], [0, 2, 0, 0]]
    assert mixed.tags.tolist() == [[1, 1], [0, 1]]


def test_nothing_is_pasted_beside_the_image() -> None:
    mixed = mix([[0, 0, E, E], [2, E, 2, 2]], [[1.0, 0.0], [0.0, 1.0]], seen=2)
    assert mixed.image[0, 0, 0].tolist() == [1, 0, 0, 0] and mixed.labels[0, 0].tolist() == [2, 0, E, E]


def test_without_a_background_class_label_0_is_an_object() -> None:
    mixed = mix([[1, 1, E, 1], [0, 0, E, E]], [[0.0, 1.0], [1.0, 0.0]], first_tag=0)
    assert mixed.labels[:, 0].tolist() == [[0, 0, E, 1], [1, 1, E, 1]]
    assert mixed.tags.tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(("there", "due"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_half_of_the_objects_are_chosen(there: int, due: int) -> None:
    seen = torch.arange(6).expand(200, 6) < there
    torch.manual_seed(0)
    chosen = half_of(seen)
    assert not (chosen & ~seen).any() and (chosen.sum(1) == due).all()
    assert there < 2 or (chosen.sum(0)[:there] > 0.7 * 200 * due / there).all()  # each as often as the others
