"""Class names as texts for Grounding DINO, and the tokens that each name has in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dhr.core.errors import InputError

BETWEEN = " . "
ENDS = re.compile(r"[.?]")  # what ends a name for the model
AROUND = 2  # tokens at the start and the end of every text


@dataclass(frozen=True)
class Phrases:
    """A text of several class names.

    Attributes:
        labels: (K) of the classes.
        inputs: of the text model, (1,L) each.
        tokens: (K,L) whether a token is a part of the name of a class; those between the names belong to none.
    """

    labels: Tensor
    inputs: Mapping[str, Tensor]
    tokens: Tensor

    def scores(self, probabilities: Tensor) -> Tensor:
        """(Q,>=L) how well boxes fit tokens -> (Q,K) how well they fit classes: as well as the best token of each."""
        own = probabilities[:, None, : self.tokens.shape[1]]
        return own.masked_fill(~self.tokens.to(own.device), 0).amax(2)


def texts_of(tokenizer: Any, words: Mapping[int, str], limit: int, *, place: str) -> list[Phrases]:
    """As few texts as hold all class names, in their order, each with at most `limit` tokens.

    Args:
        tokenizer: transformers', of Grounding DINO.
        words: names of the classes by label.
        limit: tokens that the model reads at once.
        place: key of the configuration that describes the model, for messages.

    Raises:
        InputError: a name does not fit into a text, has letters that the tokenizer does not know, or is to it the same
            as another one.
    """
    plain = {label: " ".join(ENDS.sub(" ", word).lower().split()) for label, word in words.items()}
    lengths = {label: len(tokens) + 1 for label, tokens in _tokens(tokenizer, plain, limit, place).items()}
    texts: list[list[int]] = []
    free = 0
    for label, length in lengths.items():
        if length > free:
            texts.append([])
            free = limit - AROUND
        texts[-1].append(label)
        free -= length
    return [_phrases(tokenizer, {label: plain[label] for label in labels}) for labels in texts]


def _tokens(tokenizer: Any, plain: Mapping[int, str], limit: int, place: str) -> dict[int, tuple[int, ...]]:
    """The tokens of every name, checked."""
    found: dict[int, tuple[int, ...]] = {}
    for label, word in plain.items():
        tokens = tuple(tokenizer(word, add_special_tokens=False)["input_ids"])
        other = next((plain[known] for known, its in found.items() if its == tokens), None)
        if other is not None:
            problem = f"the same to this model as {other!r}; is the tokenizer beside it its own?"
        elif not tokens or tokenizer.unk_token_id in tokens:
            problem = "has letters that the tokenizer of this model does not know; rename the class"
        elif len(tokens) + 1 > limit - AROUND:
            problem = f"{len(tokens)} tokens; this model reads at most {limit - AROUND - 1}, write a shorter name"
        else:
            found[label] = tokens
            continue
        raise InputError(f"{place}.weights: class {word!r}: {problem}")
    return found


def _phrases(tokenizer: Any, plain: Mapping[int, str]) -> Phrases:
    """One text, with the tokens found by where their letters stand in it."""
    text = BETWEEN.join(plain.values()) + BETWEEN.rstrip()
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    starts, ends = encoded.pop("offset_mapping")[0].unbind(1)
    first = torch.tensor(_starts([*plain.values()]))[:, None]
    last = first + torch.tensor([len(word) for word in plain.values()])[:, None]
    return Phrases(torch.tensor([*plain]), dict(encoded), (starts >= first) & (ends <= last) & (ends > starts))


def _starts(words: Sequence[str]) -> list[int]:
    """Where each word begins in the text of all of them."""
    starts, at = [], 0
    for word in words:
        starts.append(at)
        at += len(word) + len(BETWEEN)
    return starts
