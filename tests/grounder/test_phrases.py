"""Texts for Grounding DINO: no name is lost, and every name knows its own tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch
from grounders_of import BERT, bert_tokenizer

from dhr.core.class_names import readable
from dhr.core.errors import InputError
from dhr.dataset.classes import load_classes
from dhr.grounder.phrases import Phrases, texts_of


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return bert_tokenizer()


def words_of(table: str) -> dict[int, str]:
    classes = load_classes(table)
    return {label: readable(name) for label, name in enumerate(classes.names) if label >= classes.first_tag}


def slow_tokens(text: Phrases) -> list[list[int]]:
    """Places of the tokens of every phrase: what lies between the dots."""
    phrases: list[list[int]] = [[]]
    for place, token in enumerate(text.inputs["input_ids"][0].tolist()):
        if token == BERT["."]:
            phrases.append([])
        elif token not in (BERT["[CLS]"], BERT["[SEP]"]):
            phrases[-1].append(place)
    assert phrases.pop() == []
    return phrases


@pytest.mark.parametrize("limit", [40, 64, 256])
@pytest.mark.parametrize("table", ["voc", "coco", "context", "ade", "stuff", "toy"])
def test_all_names_are_in_the_texts_and_know_their_tokens(tokenizer: Any, table: str, limit: int) -> None:
    words = words_of(table)
    texts = texts_of(tokenizer, words, limit, place="grounder")
    assert [label for text in texts for label in text.labels.tolist()] == [*words]
    for text in texts:
        ids = text.inputs["input_ids"][0]
        assert len(ids) <= limit
        own = [places.nonzero()[:, 0].tolist() for places in text.tokens]
        assert own == slow_tokens(text)
        for label, places in zip(text.labels.tolist(), own, strict=True):
            alone = tokenizer(words[label], add_special_tokens=False)["input_ids"]
            assert ids[places].tolist() == alone


def test_texts_are_as_few_as_order_allows(tokenizer: Any) -> None:
    """By hand: start and end, then two, two and three tokens with their dots."""
    words = {1: "dining table", 2: "tv monitor", 3: "ember cat dog", 4: "cat"}
    lengths = [
        [len(text.inputs["input_ids"][0]) for text in texts_of(tokenizer, words, limit, place="")]
        for limit in (14, 12, 8, 6)
    ]
    assert lengths == [[14], [12, 4], [8, 8], [5, 5, 6, 4]]


def test_a_class_is_as_likely_as_its_best_token(tokenizer: Any) -> None:
    """Several classes can fit a box, or none: dots, ends and what is behind the text count for nobody."""
    (text,) = texts_of(tokenizer, {4: "Dining table", 7: "cat", 9: "TV monitor."}, 16, place="")
    places = slow_tokens(text)
    assert places == [[1, 2], [4], [6, 7]]
    probabilities = torch.rand(5, 16, generator=torch.Generator().manual_seed(0))
    made = text.scores(probabilities)
    for box in range(5):
        for number, own in enumerate(places):
            assert float(made[box, number]) == max(float(probabilities[box, place]) for place in own)
    everywhere_else = torch.ones(1, 16)
    everywhere_else[:, [place for own in places for place in own]] = 0
    assert text.scores(everywhere_else).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({1: "cat", 2: "CAT."}, r"class 'cat': the same to this model as 'cat'"),
        ({1: "cat", 2: "ß漢"}, r"class 'ß漢': has letters that the tokenizer of this model does not know"),
        ({1: "cat", 2: "?."}, r"class '': has letters"),
        ({1: "a" * 14}, r"class 'a+': 14 tokens; this model reads at most 13, write a shorter name"),
    ],
)
def test_names_that_cannot_be_asked_for(tokenizer: Any, words: dict[int, str], said: str) -> None:
    with pytest.raises(InputError, match=rf"wss\.recipe\.grounder\.weights: {said}"):
        texts_of(tokenizer, words, 16, place="wss.recipe.grounder")


def test_the_tokenizer_of_a_folder_is_the_same(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert again("dining table . a-b")["input_ids"] == tokenizer("dining table . a-b")["input_ids"]
