"""The files of a checkpoint folder, checked before anything is built or read from them.

transformers builds whatever `config.json` describes, follows any path in an index of shards, and loads an adapter
that is beside the weights; a downloaded folder must not be able to exploit any of that.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from transformers import PreTrainedConfig

from asr_adapt.errors import InputError, describe_validation_error
from asr_adapt.model import encoders
from asr_adapt.storage import read_json

CONFIG, INDEX, ADAPTER = "config.json", "model.safetensors.index.json", "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.bin")

_Width = Annotated[int, Field(ge=1, le=65_536)]
_Kernel = Annotated[int, Field(ge=1, le=4_096)]
_Probability = Annotated[float, Field(ge=0, le=1)]


class _Shape(BaseModel):
    """What of a configuration decides about the size of the model; the defaults are those of wav2vec 2.0."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    model_type: str = Field(default="", max_length=100)
    architectures: list[str] | None = None
    vocab_size: int | None = Field(default=32, ge=1, le=1_000_000)
    hidden_size: _Width = 768
    num_hidden_layers: int = Field(default=12, ge=0, le=1_000)
    num_attention_heads: int = Field(default=12, ge=1, le=1_024)
    intermediate_size: _Width = 3072
    conv_dim: list[_Width] = Field(default=[512] * 7, min_length=1, max_length=32)
    conv_kernel: list[_Kernel] = Field(default=[10, 3, 3, 3, 3, 2, 2])
    conv_stride: list[_Kernel] = Field(default=[5, 2, 2, 2, 2, 2, 2])
    feat_extract_norm: Literal["group", "layer"] = "group"
    num_conv_pos_embeddings: _Kernel = 128
    num_conv_pos_embedding_groups: _Kernel = 16
    conv_pos_kernel_size: _Kernel = 19
    conv_depthwise_kernel_size: _Kernel = 31
    feature_projection_input_dim: _Width = 160
    position_embeddings_type: Literal["relative", "relative_key", "rotary"] | None = None
    max_source_positions: int = Field(default=5000, ge=1, le=1_000_000)
    left_max_position_embeddings: _Kernel = 64
    right_max_position_embeddings: int = Field(default=8, ge=0, le=4_096)
    num_buckets: int = Field(default=320, ge=4, le=65_536)
    max_bucket_distance: int = Field(default=800, ge=2, le=1_000_000)
    adapter_attn_dim: _Width | None = None
    layer_norm_eps: float = Field(default=1e-5, ge=0, le=1)
    initializer_range: float = Field(default=0.02, ge=0, le=100)
    hidden_dropout: _Probability = 0.0
    attention_dropout: _Probability = 0.0
    activation_dropout: _Probability = 0.0
    feat_proj_dropout: _Probability = 0.0
    final_dropout: _Probability = 0.0
    layerdrop: _Probability = 0.0
    transformers_weights: None = None
    """another file to read the weights from"""
    quantization_config: None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        lengths = {len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)}
        if len(lengths) > 1:
            raise ValueError("conv_dim, conv_kernel and conv_stride must have the same length")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        if self.hidden_size % self.num_conv_pos_embedding_groups:
            raise ValueError("hidden_size must be a multiple of num_conv_pos_embedding_groups")
        return self


def check(folder: Path, remedy: str) -> None:
    """Check what a folder's files say about the model and about one another.

    Args:
        folder: A model folder, or a base model's.
        remedy: What to do about a damaged file.

    Raises:
        InputError: `config.json` is missing or damaged, describes another model than the weights hold, or a file
            refers to one outside the folder.
    """
    for path in sorted(folder.iterdir()):
        refuse_outside(path, folder)
    if (folder / ADAPTER).exists():
        raise InputError(
            "an adapter lies beside the weights, and it is not known whether it belongs to them",
            place=folder / ADAPTER,
            remedy="Merge it into the weights, or move it elsewhere.",
        )
    shape = _shape(folder / CONFIG, remedy)
    if (folder / INDEX).is_file():
        _check_index(folder / INDEX, remedy)
    size = sum(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern))
    # A parameter takes two bytes in half precision.
    known = encoders.KINDS.get(shape.model_type)
    if known and size and (parameters := known.parameters(shape)) > size:
        raise InputError(
            f"describes a model of {parameters:,} parameters, but the weights are only {size:,} bytes",
            place=folder / CONFIG,
            remedy=remedy,
        )


def check_config(config: PreTrainedConfig, place: object) -> None:
    """Check the size of a model before it is built.

    Raises:
        InputError: it is impossible, or no model has it.
    """
    _validated(json.loads(config.to_json_string(use_diff=False)), place, "Fetch it again.")


def refuse_outside(path: Path, folder: Path) -> None:
    """Refuse a file of a model folder that is a link to somewhere else.

    The Hub's cache keeps files as links into its `blobs`.

    Raises:
        InputError: it is such a link, or a link to nothing.
    """
    if not path.is_symlink():
        return
    home, target = folder.resolve(), path.resolve()
    in_cache = home.parent.name == "snapshots" and target.parent == home.parent.parent / "blobs"
    if not in_cache and not target.is_relative_to(home):
        raise InputError(
            "is a link to outside the model folder", place=path, remedy="Replace the link by the file itself."
        )


def _shape(path: Path, remedy: str) -> _Shape:
    if not path.is_file():
        raise InputError("no model here: config.json is missing", place=path.parent, remedy=remedy)
    return _validated(read_json(path, remedy), path, remedy)


def _validated(fields: object, place: object, remedy: str) -> _Shape:
    if isinstance(fields, dict) and fields.get("model_type") not in (None, *encoders.KINDS):
        return _Shape.model_validate({"model_type": str(fields["model_type"])[:100]})  # refused for its type
    try:
        return _Shape.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"damaged: {describe_validation_error(error)}", place=place, remedy=remedy) from error


class _Index(BaseModel):
    weight_map: dict[str, str]


def _check_index(path: Path, remedy: str) -> None:
    """Refuse an index whose shards are anything but files of its own folder."""
    try:
        names = set(_Index.model_validate(read_json(path, remedy)).weight_map.values())
    except ValidationError as error:
        raise InputError(f"damaged: {describe_validation_error(error)}", place=path, remedy=remedy) from error
    for name in sorted(names):
        if name != Path(name).name or name in {"", ".", ".."} or "\0" in name or "\\" in name:
            raise InputError(f"refers to '{name}', outside the model folder", place=path, remedy=remedy)
        if not (path.parent / name).is_file():
            raise InputError(f"'{name}' is missing", place=path, remedy=remedy)
