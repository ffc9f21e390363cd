"""Grounding DINO, SAM and SAM 3 with a few random weights, in folders as transformers itself writes them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn

from dhr.grounder.interface import Task

MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
SIDE = 32  # of the squares that SAM and SAM 3 see
WORDS = (  # whole words of the tokenizer of Grounding DINO; other words fall into letters
    *("ember", "moss", "azure", "disc", "cross", "square", "ring", "dining", "table", "tv", "monitor", "cat", "dog"),
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BERT = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}  # as published
NAMES = ("background", "cat", "diningtable", "tvmonitor", "ember_disc", "azure_ring_cross")  # two texts of TEXT_LENGTH
TASK = Task(NAMES, 1, ("a",), lambda _: (0, 0))
ALL = [*TASK.words]
CPU = torch.device("cpu")
TEXT_LENGTH = 16  # tokens that the small Grounding DINO reads at once


def picture(height: int = 40, width: int = 50, seed: int = 0) -> Tensor:
    """(3,H,W) uint8, no side of which is one of the models'."""
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def saved_all(root: Path) -> dict[str, Path]:
    """A folder of every kind."""
    kinds = {"grounding_dino": saved_grounding_dino, "sam": saved_sam, "sam3": saved_sam3}
    return {kind: save(root / kind) for kind, save in kinds.items()}


def saved_grounding_dino(folder: Path, *, seed: int = 0) -> Path:
    """A folder with a Grounding DINO that reads 16 tokens at once and has eight boxes."""
    words = bert_tokenizer()
    swin = transformers.SwinConfig(
        image_size=SIDE, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, out_indices=[2, 3, 4]
    )
    bert = transformers.BertConfig(
        vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=32, num_queries=8, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_text_len=TEXT_LENGTH,
    )  # fmt: skip
    images = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 80, "longest_edge": 120}, image_mean=MEAN, image_std=DEVIATION
    )
    model = _random(transformers.GroundingDinoForObjectDetection, config, seed)
    return _saved(folder, model, images, words)


def saved_sam(folder: Path, *, seed: int = 0) -> Path:
    """A folder with a SAM of 4x4 patches of 8 pixels."""
    config = transformers.SamConfig(
        vision_config={
            **{"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"image_size": SIDE, "patch_size": 8, "mlp_dim": 16, "window_size": 2, "global_attn_indexes": [1]},
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={
            **{"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
            "iou_head_hidden_dim": 8,
        },
    )
    images = transformers.SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, image_mean=MEAN, image_std=DEVIATION
    )
    return _saved(folder, _random(transformers.SamModel, config, seed), images)


def saved_sam3(folder: Path, *, seed: int = 0) -> Path:
    """A folder with a SAM 3 of 4x4 patches of 8 pixels and six instances a text."""
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    words = transformers.CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    backbone = {
        **small, "model_type": "sam3_vit_model", "num_hidden_layers": 2, "image_size": SIDE, "patch_size": 8,
        "window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": SIDE,
    }  # fmt: skip
    config = transformers.Sam3Config(
        vision_config={
            **{"backbone_config": backbone, "fpn_hidden_size": 16},
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            **{"model_type": "clip_text_model", "vocab_size": len(words), "num_hidden_layers": 1},
            **{**small, **ends, "projection_dim": 16, "max_position_embeddings": 32},
        },
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 2, "num_queries": 6},
        mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
    )
    images = transformers.Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=MEAN, image_std=DEVIATION)
    return _saved(folder, _random(transformers.Sam3Model, config, seed), images, words)


def as_published(folder: Path) -> Path:
    """A folder of SAM 3 as its publisher lays it out: a part of the model for videos."""
    weights = load_file(folder / "model.safetensors")
    own = {f"detector_model.{name}": value for name, value in weights.items()}
    save_file({**own, "tracker_model.no_such": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    detector = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "sam3_video", "architectures": ["Sam3VideoModel"], "detector_config": detector}
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def bert_tokenizer() -> Any:
    """Reads words of the list and letters; dots and ends have the numbers that Grounding DINO knows them by."""
    return transformers.BertTokenizer(vocab=_bert_words(), do_lower_case=True)


def _bert_words() -> dict[str, int]:
    places = set(BERT.values())
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS), "-", *WORDS]
    free = (number for number in range(1100) if number not in places)
    words = {**BERT, **dict(zip(pieces, free, strict=False))}
    return words | {f"[unused{number}]": number for number in free}


def _random(kind: Any, config: Any, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():  # transformers starts biases, scales and norms from 0 and 1
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def _saved(folder: Path, model: Any, images: Any, words: Any = None) -> Path:
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    if words is not None:
        words.save_pretrained(folder)
    return folder
