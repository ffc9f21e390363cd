"""What the rebalancer starts from: slots, which tags count in a crop, seeds."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from crops import SIZE, cams, crop, plain, scene, view_of
from reference import IGNORE

from dhr.rebalancing.released import ReleasedSeeds, ReleasedTransport
from dhr.rebalancing.seed import AgreedSeeds, AnswerSeeds, NoSeeds, Overwrite, Restore, Seeds
from dhr.rebalancing.slots import Slots
from dhr.rebalancing.transport import Transport
from dhr.rebalancing.view import AllTags, CropEvidence

SEEDS = Seeds(Transport(), Overwrite())


@pytest.mark.parametrize("first_tag", [0, 1])
def test_slots(first_tag: int) -> None:
    slots = Slots.of(torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]), first_tag=first_tag, most_tags=2)
    none = 0 if first_tag else IGNORE
    assert slots.index.tolist() == [
        [none, 1 + first_tag, 3 + first_tag],
        [none, IGNORE, IGNORE],
        [none, first_tag, IGNORE],
    ]
    assert slots.present.tolist() == [[bool(first_tag), *row] for row in ([True, True], [False] * 2, [True, False])]
    assert torch.equal(slots.present, slots.index != IGNORE)
    maps = torch.arange(4.0).view(1, 4, 1, 1).expand(3, 4, 2, 2) + 10
    assert slots.of_tags(maps)[:, :, 0, 0].tolist() == [[11, 13], [0, 0], [10, 0]]
    maps = torch.arange(4.0 + first_tag).view(1, -1, 1, 1).expand(3, -1, 2, 2) + 10
    of_classes = slots.of_classes(maps)[:, :, 0, 0]
    assert of_classes.tolist() == [
        [10 * first_tag, 11 + first_tag, 13 + first_tag],
        [10 * first_tag, 0, 0],
        [10 * first_tag, 10 + first_tag, 0],
    ]
    mask = torch.tensor([[[1 + first_tag, 3 + first_tag, none, IGNORE, 2 + first_tag]]]).expand(3, 1, 5)
    shown = slots.one_hot(mask)[0, :, 0]
    assert shown[1:].tolist() == [[True, *[False] * 4], [False, True, False, False, False]]
    assert shown[0].tolist() == [False, False, bool(first_tag), False, False]
    assert slots.to_classes(torch.tensor([[[2, 1]]] * 3))[0].tolist() == [[3 + first_tag, 1 + first_tag]]


def test_a_tag_counts_by_pixels_or_by_its_cams() -> None:
    shown = scene(cams=np.full((5, 4, 5), -1.0))
    found = scene(cams=cams(2))
    neither = scene(cams=cams(2, height=1.0))  # the mean stays below 0
    view = CropEvidence()(view_of(shown, found, neither))
    assert view.slots.present.tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert CropEvidence(minimum_pixels=129)(view_of(shown)).slots.present.tolist() == [[True, False, False]]
    assert CropEvidence(minimum_score=2.0)(view_of(found)).slots.present.tolist() == [[True, True, False]]
    assert bool(AllTags()(view_of(shown, neither)).slots.present.all())


@pytest.mark.parametrize(
    ("pixels", "share", "height", "believed"),
    [
        (15, 0.0, 16, False),  # fewer than the least number
        (16, 0.0, 16, True),
        (31, 0.1, 16, False),  # less than a tenth of 320
        (32, 0.1, 16, True),
        (19, 0.1, 10, False),  # the box is smaller, and so is its tenth
        (20, 0.1, 10, True),
        (16, 0.1, 5, True),
        (1, 0.0, 16, False),
    ],
)
def test_a_few_stray_pixels_prove_no_tag(pixels: int, share: float, height: int, believed: bool) -> None:
    mask, valid = np.zeros(SIZE, int), np.zeros(SIZE, bool)
    valid[:height] = True
    mask[:2].flat[:pixels] = 2
    view = view_of(scene(wss_mask=mask, valid=valid, cams=np.full((5, 4, 5), -1.0)))
    evidence = CropEvidence(minimum_pixels=16, minimum_share=share)
    assert evidence(view).slots.present.tolist() == [[True, believed, False]]


def test_every_tag_counts_where_the_whole_image_is_shown() -> None:
    vanished = scene(cams=np.full((5, 4, 5), -1.0), wss_mask=np.zeros(SIZE, int))
    view = CropEvidence()(view_of(vanished, replace(vanished, whole=True)))
    assert view.slots.present.tolist() == [[True, False, False], [True, True, True]]


def test_evidence_outside_the_valid_box_does_not_count() -> None:
    valid = np.zeros(SIZE, bool)
    valid[:, 8:12] = True  # neither the WSS pixels of class 2 nor the high CAM cells of tag 2 but one column
    one = scene(cams=cams(2), valid=valid)
    assert CropEvidence()(view_of(one)).slots.present.tolist() == [[True, False, False]]


def test_confident_pixels_are_written_and_the_rest_stays() -> None:
    one = scene(cams=cams(2))
    one.wss_mask[:4] = IGNORE
    seeds = SEEDS(*plain(view_of(one)))[0].numpy()
    assert (seeds[:, 15:] == 3).all()
    assert (seeds[:, :8] == one.wss_mask[:, :8]).all()


def test_scores_do_not_fade_beside_the_padding() -> None:
    valid = np.zeros(SIZE, bool)
    valid[:10, :13] = True
    box = np.where(valid, crop(0).wss_mask, IGNORE)
    scores = SEEDS.tag_scores(
        view_of(scene(cams=np.ones((5, 4, 5)), tags=np.eye(5, dtype=bool)[1], valid=valid, wss_mask=box))
    )
    np.testing.assert_allclose(scores[0, 0].numpy()[valid], 1.0, atol=1e-6)


def test_a_higher_threshold_writes_less() -> None:
    one = scene(cams=np.abs(crop(0).cams))
    written = [
        int((replace(SEEDS, threshold=threshold)(*plain(view_of(one)))[0].numpy() != one.wss_mask).sum())
        for threshold in (0.0, 0.5, 0.8, 1.0)
    ]
    assert sorted(written, reverse=True) == written
    assert written[0] > written[2] > written[3] == 0


def test_gamma_below_one_favours_background() -> None:
    one = scene(cams=np.abs(crop(0).cams))
    none = [float(replace(SEEDS, gamma=gamma).marginals(*plain(view_of(one)))[0, 0].mean()) for gamma in (0.5, 1, 3)]
    assert none[0] > none[1] > none[2]


def test_seeds_never_write_ignore() -> None:
    for number in range(24):
        one = crop(number)
        for seeds in (SEEDS, replace(SEEDS, policy=Restore()), ReleasedSeeds(ReleasedTransport())):
            made = seeds(*plain(view_of(one)))[0].numpy()
            assert not ((made == IGNORE) & (one.wss_mask != IGNORE)).any()
            assert (made[~one.valid] == one.wss_mask[~one.valid]).all()


@pytest.mark.parametrize("first_tag", [0, 1])
def test_without_cams_the_wss_mask_stays(first_tag: int) -> None:
    one = replace(crop(2, first_tag), cams=np.full((5, 3, 4), -1.0))
    assert (SEEDS(*plain(view_of(one, first_tag=first_tag)))[0].numpy() == one.wss_mask).all()


def test_one_tag_does_not_take_the_whole_crop() -> None:
    one = scene(tags=np.eye(5, dtype=bool)[2], cams=cams(2), wss_mask=np.zeros(SIZE, int))
    made = SEEDS(*plain(view_of(one)))[0].numpy()
    released = ReleasedSeeds(ReleasedTransport())(*plain(view_of(one)))[0].numpy()
    assert (made == 3).mean() == pytest.approx(0.4, abs=0.15)
    assert (released == 3).all()


def test_restore_writes_missing_classes_alone() -> None:
    maps = cams(2)
    maps[1, :2] = 4.0  # class 2 is in the WSS mask already, class 3 is not
    one = scene(cams=maps)
    restored = replace(SEEDS, policy=Restore())(*plain(view_of(one)))[0].numpy()
    overwritten = SEEDS(*plain(view_of(one)))[0].numpy()
    assert (restored[10:, 15:] == 3).all()
    assert (overwritten[:6, 9:11] == 2).any()
    assert ((restored == 2) == (one.wss_mask == 2) & (restored != 3)).all()


def test_restore_counts_shares() -> None:
    confident, given = torch.zeros(1, 2, 4, 5, dtype=torch.bool), torch.zeros(1, 2, 4, 5, dtype=torch.bool)
    confident[0, :, :2] = True  # ten pixels each
    given[0, 0, 3, :3], given[0, 1, 3, :2] = True, True
    kept = Restore(share=0.25)(confident, given)
    assert kept.sum((2, 3)).tolist() == [[0, 10]]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.5])
@pytest.mark.parametrize("first_tag", [0, 1])
def test_answers_equal_the_loops(first_tag: int, share: float) -> None:
    lost = 0
    for number in range(24):
        one = crop(number, first_tag)
        tags = np.nonzero(one.tags)[0].tolist()
        made = AnswerSeeds(share)(*plain(view_of(one, first_tag=first_tag)))[0].numpy()
        assert (made == reference.answered(one, tags, first_tag, share=share)).all(), number
        lost += (made != reference.answered(one, tags, first_tag, share=0.0)).any()
    assert (lost > 0) == (share > 0)


def test_the_answer_is_among_the_classes_that_take_part() -> None:
    one = scene(logits=np.where(np.arange(6)[:, None, None] == 5, 9.0, crop(0).logits))  # sure of a class without a tag
    view = view_of(one, replace(one, tags=np.zeros(5, bool)))
    answer = view.answer(SIZE)
    assert torch.allclose(answer.sum(1), torch.ones(2, *SIZE))
    assert (answer[1, 0] == 1).all()
    assert not answer[1, 1:].any()
    assert set(AnswerSeeds()(*plain(view))[0].unique().tolist()) <= {0, 2, 3}


def test_an_answer_of_no_mass_is_no_nonsense() -> None:
    logits = np.full((6, 4, 5), -1e4)
    logits[5] = 1e4
    answer = view_of(scene(logits=logits)).answer(SIZE)
    assert torch.allclose(answer, torch.full((1, 3, *SIZE), 1 / 3))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("first_tag", [0, 1])
def test_agreement_equals_the_loops(first_tag: int, share: float) -> None:
    for number in range(24):
        one = crop(number, first_tag)
        tags = np.nonzero(one.tags)[0].tolist()
        answer = reference.answered(one, tags, first_tag, share=0.0)
        expected = np.full(SIZE, IGNORE)
        for label in ([0] if first_tag else []) + [tag + first_tag for tag in tags]:
            mask = (one.wss_mask == label) & one.valid
            agreed = mask & (answer == label)
            expected[agreed if agreed.sum() >= share * mask.sum() else mask] = label
        made = AgreedSeeds(NoSeeds(), share)(*plain(view_of(one, first_tag=first_tag)))[0].numpy()
        assert (made == expected).all(), number


def test_what_another_step_restores_can_be_agreed_on() -> None:
    one = scene(cams=cams(2), logits=np.zeros((6, 4, 5)))
    step = replace(SEEDS, policy=Restore())
    restored = step(*plain(view_of(one)))[0].numpy()
    assert (restored == 3).any()
    agreed = AgreedSeeds(step)(*plain(view_of(one)))[0].numpy()  # the answer is background everywhere
    assert ((agreed == 3) == (restored == 3)).all()
    assert not (AgreedSeeds(NoSeeds())(*plain(view_of(one)))[0].numpy() == 3).any()
