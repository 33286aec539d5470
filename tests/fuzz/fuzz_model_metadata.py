"""Fuzz target: the small files of a model folder and of a run, damaged byte by byte and field by field."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from runner import Target, main, mutated

from asr_adapt.artifacts import (
    Digests,
    EngineMeasurements,
    Environment,
    Metrics,
    ModelMetadata,
    NGramWeights,
    PreparationSummary,
    RunStages,
    check_model,
)
from asr_adapt.model import checkpoint_files, ctc_model
from asr_adapt.recipe import read_recipe
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser

_UNITS = ["<pad>", "|", "a", "b", "ŋ", "á"]
SEEDS: dict[str, Any] = {
    "asr_adapt.json": {
        "format_version": 1,
        "asr_adapt": "0.1.0",
        "language": "mi",
        "alphabet": _UNITS,
        "normaliser": {"lower": True, "keep": "-", "replace": {"x": "ks"}, "drop": ["[]", "/&+/"]},
        "decoding": {"method": "beam search", "weights": NGramWeights().model_dump()},
    },
    "config.json": {
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2ForCTC"],
        "vocab_size": 6,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "conv_dim": [24] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "feat_extract_norm": "layer",
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "layer_norm_eps": 1e-5,
    },
    "processor_config.json": {"feature_extractor": {"do_normalize": True, "sampling_rate": 16000}},
    "model.safetensors.index.json": {"metadata": {}, "weight_map": {"lm_head.weight": "model.safetensors"}},
    "digests.json": {"files": {"asr_adapt.json": "0" * 64, "model.safetensors": "0" * 64}},
    "stages.json": {"prepare": {"inputs": "0" * 64, "finished": True}, "train": {"inputs": "1", "finished": False}},
    "metrics.json": {
        "split": "test", "utterances": 4, "words": 8, "audio_s": 2.5, "wer": 1.1, "wer_ci95": [1.0, 1.6], "cer": 0.9,
        "cer_ci95": [0.8, 1.2], "substitutions": 5, "deletions": 3, "insertions": 1, "excluded": {"too_long": 3},
        "normaliser": "NFC", "decoding": "greedy", "transcribe_rtfx": 73.8,
    },
    "doctor.json": {
        "alphabet": _UNITS, "utterances": {"train": 24}, "hours": {"train": 0.1}, "speakers": {"train": 3},
        "unknown_letters": {"dev": {"x": 1}}, "leaks": [],
        "character_changes": [{"character": "B", "before": 8, "after": 0, "name": "U+0042"}],
        "excluded": [{"id": "1", "audio": "a.wav", "split": "train", "reason": "too_long", "detail": "31 s"}],
    },
    "measured.json": {"model": "0" * 16, "precision": "fp32", "dev": {"torch": {"wer": 0.2, "rtfx": 100.0}}},
    "environment.json": {"python": "3.11", "cores": 8, "gpus": [], "versions": {"torch": "2.0"}},
}  # fmt: skip
_TOML = (
    b'language = "mi"\n[corpus]\nroot = "/corpus"\n[text.replace]\n"x" = "ks"\n[train]\nsteps = 100\nspeed = 0.1\n'
)

_NUMBERS = st.sampled_from([0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, 1e308, -1e-308, 10**4000])
_LEAVES = st.none() | st.booleans() | _NUMBERS | st.text(max_size=20) | st.sampled_from(["../x", "/etc/passwd", "\0"])
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@st.composite
def _field_by_field(draw: st.DrawFn, seed: Any) -> bytes:
    """Return a seed in which some values are others, are missing, or lie very deep."""
    fields = json.loads(json.dumps(seed))
    for _ in range(draw(st.integers(1, 3))):
        place = fields
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del place[key]
            else:
                place[key] = draw(_VALUES)
            break
    text = json.dumps(fields)
    if draw(st.integers(0, 9)) == 0:
        depth = draw(st.sampled_from([100, 1_000, 90_000]))
        text = text.replace("{", '{"deep": ' + "[" * depth + "]" * depth + ", ", 1)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _inputs(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from([*SEEDS, "recipe.toml"]))
    if name == "recipe.toml":
        return name, draw(mutated([_TOML]))
    return name, draw(mutated([json.dumps(SEEDS[name], ensure_ascii=False).encode()]) | _field_by_field(SEEDS[name]))


def read_one(case: tuple[str, bytes]) -> None:
    """Read a file as the package does; what is accepted must be usable."""
    name, data = case
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "config.json").write_text(json.dumps(SEEDS["config.json"]))
        (folder / "model.safetensors").write_bytes(bytes(300_000))
        path = folder / name
        path.write_bytes(data)
        match name:
            case "asr_adapt.json":
                metadata = ModelMetadata.read(folder)
                Alphabet(metadata.alphabet).split("áŋ x")
                normalise = Normaliser(metadata.normaliser, metadata.language)
                text = normalise("Áx [b] ŋ-a")
                assert normalise(text) == text
            case "config.json" | "model.safetensors.index.json":
                checkpoint_files.check(folder, "Copy it again.")
            case "processor_config.json":
                ctc_model.processor_config(folder)
            case "digests.json":
                check_model(folder, None)
                Digests.read_file(path, "")
            case "stages.json":
                assert all(RunStages.read_file(path, "").stages.values())
            case "metrics.json":
                Metrics.read(folder).describe_speed()
            case "doctor.json":
                PreparationSummary.read(folder).excluded_counts("train")
            case "measured.json":
                EngineMeasurements.read_file(path, "")
            case "environment.json":
                Environment.read_file(path, "")
            case "recipe.toml":
                read_recipe(path)


TARGET = Target("model_metadata", _inputs(), read_one, seconds=60)

if __name__ == "__main__":
    main(TARGET)
