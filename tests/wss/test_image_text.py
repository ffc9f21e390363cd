"""The cells of an image and the vectors of texts, as frozen image-text models see them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from image_text_of import DEVIATION, KINDS, MEAN, saved_model
from torch import Tensor
from torch.nn import functional

from dhr.core.class_names import readable
from dhr.core.errors import InputError
from dhr.dataset.classes import known_tables, load_classes
from dhr.disk.weights.model_folder import ModelFolder
from dhr.wss.image_text.load import load_model
from dhr.wss.image_text.model import ImageText, Through
from dhr.wss.image_text.prompts import vectors_of

TEMPLATES = ("a photo of a {}.", "one {}")
SIZES = [(32, 32), (24, 40), (8, 72)]  # of pixels; 32 x 32 is what the models were made for
CASES: list[tuple[str, Through]] = [
    ("clip", "value"), ("clip", "last"), ("siglip", "value"), ("siglip2", "value"), ("tipsv2", "value"),
    ("tipsv2", "last"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved_model(tmp_path_factory.mktemp("models") / kind, kind) for kind in KINDS}


def loaded(folder: Path, through: Through = "value") -> ImageText:
    return load_model(ModelFolder(folder), through=through, precision="fp32")


def picture(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def normalised(image: Tensor) -> Tensor:
    planes = [(image[:, colour] - MEAN[colour]) / DEVIATION[colour] for colour in range(3)]
    return torch.stack(planes, 1)


def into_patches(image: Tensor) -> dict[str, Any]:
    """What transformers' SigLIP 2 is called with, patch by patch."""
    rows, columns = image.shape[2] // 8, image.shape[3] // 8
    patches = [
        image[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].permute(0, 2, 3, 1).flatten(1)
        for row in range(rows)
        for column in range(columns)
    ]
    shapes = torch.tensor([[rows, columns]] * len(image))
    return {"pixel_values": torch.stack(patches, 1), "spatial_shapes": shapes, "pixel_attention_mask": None}


def seen_by(layers: Any, kind: str, image: Tensor, **options: Any) -> Any:
    """The output of transformers' own image encoder."""
    if kind == "siglip2":
        return layers.vision_model(**into_patches(image), **options)
    flexible = {} if kind == "tipsv2" else {"interpolate_pos_encoding": True}
    return layers.vision_model(pixel_values=image, **flexible, **options)


def linear(layer: Any, token: Tensor) -> Tensor:
    return layer.weight @ token + layer.bias


def normed(layer: Any, token: Tensor) -> Tensor:
    centred = token - token.mean()
    return centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias


def pooled_alone(head: Any, token: Tensor) -> Tensor:
    """SigLIP's head by hand, for the one token that its attention looks at."""
    width, attention = len(token), head.attention
    value = attention.in_proj_weight[2 * width :] @ token + attention.in_proj_bias[2 * width :]
    given = linear(attention.out_proj, value)
    return given + head.mlp(normed(head.layernorm, given))


def own_value(vision: Any, kind: str, token: Tensor) -> Tensor:
    """What a token hands on in the last block, by hand."""
    if kind == "clip":
        last = vision.encoder.layers[-1]
        return linear(last.self_attn.out_proj, linear(last.self_attn.v_proj, normed(last.layer_norm1, token)))
    last = vision.encoder.layer[-1]
    given = linear(last.attention.o_proj, linear(last.attention.v_proj, normed(last.norm1, token)))
    return given * last.layer_scale1.lambda1


def slow_cells(layers: Any, kind: str, through: Through, image: Tensor) -> list[Tensor]:
    """The vectors of the cells of one image (1,3,H,W), one after the other, from what transformers gives."""
    vision, last, skipped = layers.vision_model, "last_hidden_state", {"clip": 1, "tipsv2": 2}.get(kind, 0)
    if kind.startswith("siglip"):
        return [pooled_alone(vision.head, token) for token in seen_by(layers, kind, image)[last][0]]
    states = seen_by(layers, kind, image, output_hidden_states=True).hidden_states
    tokens = states[-1 if through == "last" else -2][0][skipped:]
    if through == "value":
        tokens = [own_value(vision, kind, token) for token in tokens]
    if kind == "tipsv2":
        return [normed(vision.layernorm, token) for token in tokens]
    return [layers.visual_projection.weight @ normed(vision.post_layernorm, token) for token in tokens]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "through"), CASES)
def test_cells_equal_a_slow_reference(
    folders: dict[str, Path], kind: str, through: Through, size: tuple[int, int]
) -> None:
    model, image = loaded(folders[kind], through), picture(*size)
    made = model(image)
    assert made.shape == (2, model.embed(["cat"]).shape[1], size[0] // 8, size[1] // 8)
    for number in range(2):
        with torch.no_grad():
            cells = slow_cells(model.layers, kind, through, normalised(image[number : number + 1]))
        expected = torch.stack([cell / cell.norm() for cell in cells], 1)
        torch.testing.assert_close(made[number].flatten(1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_an_image_of_one_cell_has_its_vector(folders: dict[str, Path], kind: str) -> None:
    """Where nothing is to be pooled, a cell is what transformers says of the image."""
    model, image = loaded(folders[kind]), picture(8, 8)
    inputs = into_patches(normalised(image)) if kind == "siglip2" else {
        "pixel_values": normalised(image), "interpolate_pos_encoding": True
    }  # fmt: skip
    with torch.no_grad():
        whole = model.layers.get_image_features(**inputs).pooler_output
    torch.testing.assert_close(model(image)[:, :, 0, 0], functional.normalize(whole), rtol=1e-4, atol=1e-5)


def test_patches_in_a_list_are_those_of_a_convolution(folders: dict[str, Path]) -> None:
    """SigLIP 2 with the weights of SigLIP sees the same, at the size where no place is interpolated."""
    fixed, flexible = loaded(folders["siglip"]), loaded(folders["siglip2"])
    weights = fixed.layers.state_dict()
    name = "vision_model.embeddings.patch_embedding.weight"
    weights[name] = weights[name].permute(0, 2, 3, 1).flatten(1)
    flexible.layers.load_state_dict(weights)
    torch.testing.assert_close(flexible(picture(32, 32)), fixed(picture(32, 32)), rtol=1e-4, atol=1e-5)


def test_the_last_attention_of_siglip_gives_no_map(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"wss\.recipe\.tokens: last: .*set wss\.recipe\.tokens=value"):
        loaded(folders["siglip"], "last")


def test_half_precision_is_near_and_comes_out_whole(folders: dict[str, Path]) -> None:
    folder = ModelFolder(folders["clip"])
    exact, half = (load_model(folder, through="value", precision=each)(picture(24, 40)) for each in ("fp32", "bf16"))
    assert half.dtype == torch.float32 and not torch.equal(exact, half)
    assert float((exact * half).sum(1).min()) > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_what_transformers_makes_of_them(folders: dict[str, Path], kind: str) -> None:
    """One by one, so that no padding of a neighbour helps; the mean over the templates."""
    model = loaded(folders[kind])
    whole = {"padding": "max_length", "max_length": 64} if kind != "clip" else {}
    means = []
    for word in ("cat", "Traffic Light"):
        vectors = []
        for template in TEMPLATES:
            inputs = model.tokenizer([template.format(word).lower()], return_tensors="pt", **whole)
            kept = {
                key: inputs[key] for key in (["input_ids"] if "siglip" in kind else ["input_ids", "attention_mask"])
            }
            with torch.no_grad():
                vectors.append(functional.normalize(model.layers.get_text_features(**kept).pooler_output[0], dim=0))
        means.append(functional.normalize((vectors[0] + vectors[1]) / 2, dim=0))
    made = vectors_of(model, ["cat", "Traffic Light"], TEMPLATES)
    torch.testing.assert_close(made, torch.stack(means), rtol=1e-4, atol=1e-5)


def test_large_letters_make_no_difference(tmp_path: Path) -> None:
    """SigLIP 2 as published: its tokenizer keeps large letters, and its training never saw one."""
    folder = saved_model(tmp_path / "model", "siglip")
    words = json.loads((folder / "tokenizer.json").read_text())
    words["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    (folder / "tokenizer.json").write_text(json.dumps(words))
    stated = {**json.loads((folder / "tokenizer_config.json").read_text()), "tokenizer_class": "GemmaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    model = loaded(folder)
    assert model.tokenizer("A Cat")["input_ids"] != model.tokenizer("a cat")["input_ids"]
    torch.testing.assert_close(model.embed(["A Photo of a CAT."]), model.embed(["a photo of a cat."]), rtol=0, atol=0)


def test_names_are_written_as_people_write_them() -> None:
    voc = [readable(name) for name in load_classes("voc").names]
    assert {"dining table", "potted plant", "tv monitor", "aeroplane"} <= {*voc}
    for table in known_tables():
        names = load_classes(table).names
        words = [readable(name) for name in names]
        assert len({*words}) == len(names) and not any("_" in word or "-" in word for word in words)


def test_what_the_tokenizer_cannot_tell_apart_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="'cat' and 'CAT' are the same"):
        vectors_of(loaded(folders["clip"]), ["dog", "cat", "CAT"], TEMPLATES)


def test_a_text_that_is_too_long_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"wss\.recipe\.templates: .*reads at most 64, write shorter"):
        vectors_of(loaded(folders["siglip"]), ["cat"], (f"{'very ' * 20}big {{}}",))
