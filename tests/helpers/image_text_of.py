"""Image-text models with a few random weights, in folders as transformers itself writes them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
LETTERS = "abcdefghijklmnopqrstuvwxyz.,-"
KINDS = ("clip", "siglip", "siglip2", "tipsv2")
MEAN, DEVIATION = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def saved_model(folder: Path, kind: str, *, tokenizer: bool = True, seed: int = 0) -> Path:
    """A folder with a model of 4x4 patches of 8 pixels, its tokenizer and what its images are normalised with."""
    words = _tokenizer(kind)
    torch.manual_seed(seed)
    model = _MODELS[kind](len(words))
    with torch.no_grad():
        for parameter in model.parameters():  # transformers starts biases, scales and norms from 0 and 1
            if parameter.ndim and len(parameter) > 1:  # not the factor of the cosines
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    if tokenizer:
        words.save_pretrained(folder)
    stated = {"do_normalize": True, "image_mean": MEAN, "image_std": DEVIATION}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    return folder


def _tokenizer(kind: str) -> Any:
    """CLIP's reads bytes; the others read letters, and bytes where there is no letter."""
    if kind == "clip":
        letters = sorted(ByteLevel.alphabet())
        ends = [f"{letter}</w>" for letter in letters]
        return transformers.CLIPTokenizer(
            vocab=_numbered([*letters, *ends, "<|startoftext|>", "<|endoftext|>"]), merges=[]
        )
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS]
    maker = transformers.Tipsv2Tokenizer if kind == "tipsv2" else transformers.Siglip2Tokenizer
    return maker(vocab=_numbered(pieces), merges=[])


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces)}


def _clip(words: int) -> nn.Module:
    ends = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**SIZES, **ends, "vocab_size": words, "max_position_embeddings": 77},
            vision_config={**SIZES, "image_size": 32, "patch_size": 8},
            projection_dim=12,
        )
    )


def _siglip(words: int) -> nn.Module:
    return transformers.SiglipModel(
        transformers.SiglipConfig(text_config=_text(words), vision_config={**SIZES, "image_size": 32, "patch_size": 8})
    )


def _siglip2(words: int) -> nn.Module:
    return transformers.Siglip2Model(
        transformers.Siglip2Config(
            text_config=_text(words), vision_config={**SIZES, "num_patches": 16, "patch_size": 8}
        )
    )


def _text(words: int) -> dict[str, Any]:
    ends = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    return {**SIZES, **ends, "vocab_size": words, "max_position_embeddings": 64, "projection_size": 16}


def _tipsv2(words: int) -> nn.Module:
    vision = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    return transformers.Tipsv2Model(
        transformers.Tipsv2Config(
            text_config={**SIZES, "vocab_size": words, "max_position_embeddings": 64},
            vision_config={**vision, "mlp_ratio": 2, "image_size": 32, "patch_size": 8},
        )
    )


_MODELS = {"clip": _clip, "siglip": _siglip, "siglip2": _siglip2, "tipsv2": _tipsv2}
