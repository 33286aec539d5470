"""NeMo's manifests: a JSON object a line with `audio_filepath`, `text`, `duration`, and `offset` of a segment.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from collections.abc import Generator, Sequence
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import json_lines
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import parts_by_split, split_named
from asr_adapt.corpora.times import seconds
from asr_adapt.recipe import Source, Splits
from asr_adapt.records import LeftOut, Utterance

LAYOUT = "a NeMo manifest (.json or .jsonl with audio_filepath and text), or one for each split"
_SUFFIXES = (".json", ".jsonl")


def recognises(root: Path) -> bool:
    """Whether `root` is a manifest, or a folder with one or with one for each split."""
    return bool(_manifests(root))


def read(root: Path, language: str, source: Source) -> Generator[Utterance, None, Sequence[LeftOut]]:
    """Yield the utterances of each manifest; a name such as `train_manifest.json` says the split.

    Raises:
        InputError: a line is no object, has no audio or text, or an impossible value.
    """
    finder = AudioFinder(root)
    manifests = _manifests(root, source.splits)
    splits, unused = parts_by_split([manifest.stem for manifest in manifests], source.splits)
    for manifest in (manifest for manifest in manifests if manifest.stem in splits):
        for place, row in json_lines.objects(manifest):
            name = json_lines.text(row, "audio_filepath", place)
            times: dict[str, float] = {}
            offset = row.get("offset")
            duration = row.get("duration")
            if offset is not None:
                times["start_s"] = seconds(offset, "offset", place)
                if duration is not None:
                    times["end_s"] = times["start_s"] + seconds(duration, "duration", place)
            elif duration is not None:
                times["duration_s"] = seconds(duration, "duration", place)
            yield utterance_at(
                place,
                id=name if offset is None else f"{name}_{offset}_{duration}",
                audio=finder.find(name, place, manifest.parent),
                split=splits[manifest.stem],
                language=row.get("lang") or language,
                speaker=None if (speaker := row.get("speaker")) is None else str(speaker),
                text=json_lines.text(row, "text", place),
                **times,
            )
    return [LeftOut.of("split", m.name, [m]) for m in manifests if m.stem in unused]


def _manifests(root: Path, choice: Splits = "own") -> list[Path]:
    if root.is_file():
        return [root] if root.suffix in _SUFFIXES and "audio_filepath" in json_lines.first(root) else []
    found = [path for path in media.visible(root, "*") if path.suffix in _SUFFIXES and path.is_file()]
    found = [path for path in found if "audio_filepath" in json_lines.first(path)]
    named = [path for path in found if split_named(path.stem, "own" if choice == "made" else choice)]
    return named or (found if len(found) == 1 else [])
