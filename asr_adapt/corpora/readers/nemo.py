"""NeMo's manifests: a JSON object a line with `audio_filepath`, `text`, `duration`, and `offset` of a segment.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from collections.abc import Iterator
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora import json_lines
from asr_adapt.corpora.audio_files import AudioFinder
from asr_adapt.corpora.rows import utterance_at
from asr_adapt.corpora.splits import split_named
from asr_adapt.corpora.times import seconds
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

LAYOUT = "a NeMo manifest (.json or .jsonl with audio_filepath and text), or one for each split"
_SUFFIXES = (".json", ".jsonl")


def recognises(root: Path) -> bool:
    """Whether `root` is a manifest, or a folder with one or with one for each split."""
    return bool(_manifests(root))


def read(root: Path, language: str, source: Source) -> Iterator[Utterance]:
    """Yield the utterances of each manifest; a name such as `train_manifest.json` says the split.

    Raises:
        InputError: a line is no object, has no audio or text, or an impossible value.
    """
    finder = AudioFinder(root)
    for manifest in _manifests(root):
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
                split=split_named(manifest.stem),
                language=row.get("lang") or language,
                speaker=None if (speaker := row.get("speaker")) is None else str(speaker),
                text=json_lines.text(row, "text", place),
                **times,
            )


def _manifests(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix in _SUFFIXES and "audio_filepath" in json_lines.first(root) else []
    found = [path for path in media.visible(root, "*") if path.suffix in _SUFFIXES and path.is_file()]
    found = [path for path in found if "audio_filepath" in json_lines.first(path)]
    return [path for path in found if split_named(path.stem)] or (found if len(found) == 1 else [])
