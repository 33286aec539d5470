"""The model: load a base checkpoint, put the CTC head on it, say what is frozen, run it, save and load it."""

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, model_validator
from transformers import PreTrainedConfig, Wav2Vec2CTCTokenizer

from asr_adapt.artifacts import DIGESTS, MODEL_METADATA, Artifact, Calibrations, Digests, ModelMetadata, check_model
from asr_adapt.audio import SAMPLE_RATE_HZ
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.model import adapters, base, checkpoint_files, encoders
from asr_adapt.model.encoders import Net
from asr_adapt.recipe import Text
from asr_adapt.storage import atomic_folder, unwritable_as_error
from asr_adapt.text.alphabet import BLANK, DELIMITER, Alphabet
from asr_adapt.text.normaliser import Normaliser

_UNCALIBRATED = Calibrations()
_SEALED = ("*.json", "*.safetensors", "*.arpa")


class _FeatureExtractorConfig(BaseModel):
    do_normalize: bool
    """whether clips come at zero mean and unit variance"""

    @model_validator(mode="before")
    @classmethod
    def _mel_frames_are_normalised_by_band(cls, fields: object) -> object:
        """Add what an extractor of mel frames does not say: it leaves the waveform as it is."""
        if isinstance(fields, dict) and fields.get("feature_extractor_type") == "SeamlessM4TFeatureExtractor":
            return {"do_normalize": False, **fields}
        return fields


def seal(folder: Path) -> list[str]:
    """Write the digests of a model folder's files, by which `load` knows them; return the files' names."""
    names = sorted({path.name for pattern in _SEALED for path in folder.glob(pattern)} - {DIGESTS})
    Digests.of(folder, names).write(folder)
    return names


class ProcessorConfig(Artifact):
    """The part of transformers' `processor_config.json` that the package reads."""

    feature_extractor: _FeatureExtractorConfig


@dataclass(frozen=True)
class CTCModel:
    """An encoder (`encoders.KINDS`) with a CTC head, and what is needed to use it."""

    net: Net
    alphabet: Alphabet
    language: str
    text: Text
    normalise_waveform: bool
    """whether the base model expects each clip at zero mean and unit variance"""
    lora: Any = None
    """peft's wrapper of `net`, while low-rank additions are trained"""
    calibrations: Calibrations = _UNCALIBRATED
    """of the confidence of words"""

    @property
    def normaliser(self) -> Normaliser:
        """The normaliser that its training transcripts went through."""
        return Normaliser(self.text, self.language)

    @property
    def grid(self) -> FrameGrid:
        """The positions of its frames."""
        return base.frame_grid(self.net.config)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next (0.02 for wav2vec 2.0)."""
        return self.grid.stride / SAMPLE_RATE_HZ

    @property
    def shortest_clip(self) -> int:
        """Samples that the feature encoder needs for one frame."""
        return self.grid.receptive_field

    def save(self, folder: Path, trained_on: TrainedOn | None = None) -> None:
        """Write the model in `save_pretrained`'s format, which `transformers.pipeline` loads as it is.

        `folder` holds the whole new model, or still the old one (`storage.atomic_folder`).

        Args:
            folder: The model's.
            trained_on: What it and its base were trained on, to be kept beside it.

        Raises:
            InputError: it cannot be written.
        """
        with unwritable_as_error(folder, "Make room, or give another folder."), atomic_folder(folder) as partial:
            self.write(partial, trained_on)

    def write(self, folder: Path, trained_on: TrainedOn | None = None) -> None:
        """Write what `save` does into a folder that exists, file by file: one that is still to take its place."""
        with base.quiet():
            self.net.save_pretrained(folder)
        _processor(self.alphabet, self.net.config, self.normalise_waveform, folder).save_pretrained(folder)
        ModelMetadata(
            language=self.language,
            alphabet=self.alphabet.units,
            normaliser=self.text,
            calibrations=self.calibrations,
        ).write(folder)
        if trained_on is not None:
            trained_on.write(folder)
        seal(folder)

    def save_adapter(self, folder: Path) -> None:
        """Write what was trained beside the base model: peft's format for LoRA, MMS's for its layers."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.lora is not None:
            self.lora.save_pretrained(folder, save_embedding_layers=False)  # there are none; it would look for them
        else:
            adapters.save_mms(self.net, self.language, folder)

    def merged(self) -> "CTCModel":
        """Return the model with LoRA's additions inside its matrices; MMS's layers are a part of it as they are."""
        if self.lora is None:
            return self
        return replace(self, net=copy.deepcopy(self.lora).merge_and_unload(), lora=None)

    @classmethod
    def load(cls, folder: Path) -> "CTCModel":
        """Load what `save` wrote, in evaluation mode and float32.

        Raises:
            InputError: the folder is no model of this package, of a newer format, or damaged; or its files are not
                those that were saved, by their digests.
        """
        metadata = ModelMetadata.read(folder)
        check_model(folder)
        checkpoint_files.check(folder, "Copy the model again.")
        processor = processor_config(folder)
        net = base.from_pretrained(folder, pickled_weights=False, whole=True)
        if len(metadata.alphabet) != net.config.vocab_size:
            raise InputError(
                f"the alphabet has {len(metadata.alphabet)} units, the head {net.config.vocab_size}",
                place=folder / MODEL_METADATA,
                remedy="Copy the model again.",
            )
        return cls(
            net=net.eval(),
            alphabet=Alphabet(metadata.alphabet),
            language=metadata.language,
            text=metadata.normaliser,
            normalise_waveform=processor.feature_extractor.do_normalize,
            calibrations=metadata.calibrations,
        )


def processor_config(folder: Path) -> ProcessorConfig:
    """Return how a model folder expects its waveforms.

    Raises:
        InputError: the file is missing or damaged.
    """
    return ProcessorConfig.read_file(folder / "processor_config.json", "Copy the model again.")


def _processor(alphabet: Alphabet, config: PreTrainedConfig, normalise: bool, folder: Path) -> Any:
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(
        json.dumps({unit: index for index, unit in enumerate(alphabet.units)}, ensure_ascii=False),
        encoding="utf-8",
    )
    tokenizer = Wav2Vec2CTCTokenizer(
        str(vocabulary),
        pad_token=BLANK,
        unk_token=BLANK,
        bos_token=None,
        eos_token=None,
        word_delimiter_token=DELIMITER,
        clean_up_tokenization_spaces=False,
    )
    return encoders.kind(config).processor(config, tokenizer, normalise=normalise)
