"""transcribe: audio files become transcripts beside each other in a folder, or on standard output."""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr_adapt import formats
from asr_adapt.errors import InputError
from asr_adapt.files import write_whole
from asr_adapt.report import Console

if TYPE_CHECKING:  # it brings torch, and a misspelt path shall be answered at once
    from asr_adapt.transcriber import Transcriber

# fmt: off
AUDIO_SUFFIXES = frozenset({
    ".3gp", ".aac", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mkv", ".mov", ".mp3", ".mp4", ".oga",
    ".ogg", ".opus", ".wav", ".webm", ".wma",
})
# fmt: on


def find(inputs: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and the audio files below the folders that are named, each once.

    Raises:
        InputError: an input does not exist, or there is no audio file at all.
    """
    found: dict[Path, None] = {}
    for path in inputs:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in AUDIO_SUFFIXES)
            found.update(dict.fromkeys(below))
        elif path.exists():
            found[path] = None
        else:
            raise InputError("no such file or folder", place=path, remedy="Look at the path.")
    if not found:
        raise InputError("no audio file in here", place=", ".join(map(str, inputs)), remedy="Name a file.")
    return list(found)


def destinations(files: Sequence[Path], out: Path, format: str) -> dict[Path, Path]:
    """Return where each file's transcript goes: `<stem>.<format>`; files of equal stems keep their subfolders.

    Raises:
        InputError: two files in one folder differ in their suffix alone.
    """
    stems = Counter(file.stem for file in files)
    common = Path(os.path.commonpath([file.resolve().parent for file in files]))
    places: dict[Path, Path] = {}
    for file in files:
        folder = out if stems[file.stem] == 1 else out / file.resolve().parent.relative_to(common)
        places[file] = folder / f"{file.stem}.{format}"
    taken: dict[Path, Path] = {}
    for file, place in places.items():
        if place in taken:
            raise InputError(
                f"both '{taken[place]}' and '{file}' would become {place}",
                place="--out",
                remedy="Transcribe them into two folders.",
            )
        taken[place] = file
    return places


def transcribe(
    load: "Callable[[], Transcriber]", files: Sequence[Path], format: str, out: Path | None, console: Console
) -> int:
    """Transcribe files, and return how many could not be done; those are named, the others are done.

    Each result is written whole or not at all. Started again, only what is missing is done.

    Args:
        load: Makes the transcriber, once it is known that there is work.
        files: Of `find`.
        format: A name in `formats.WRITERS`.
        out: Folder for the transcripts; None prints them.
        console: Where to report.
    """
    places = destinations(files, out, format) if out else {}
    missing = [file for file in files if file not in places or not places[file].exists()]
    if len(missing) < len(files):
        console.say(f"{len(files) - len(missing)} of {len(files)} are there already")
    if not missing:
        return 0
    if out:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"no folder can be made here ({error.strerror})", place=out) from error
    if format != "txt" and not out and len(files) > 1:
        raise InputError(f"{len(files)} files as {format} need a folder", place="--out", remedy="Give --out DIR.")
    transcriber, write = load(), formats.WRITERS[format]
    failed, audio_s, began = 0, 0.0, time.perf_counter()
    with console.progress("transcribe", total=len(missing)) as progress:
        results = transcriber.transcribe_all(missing)
        for number, (file, result) in enumerate(zip(missing, results, strict=True), start=1):
            progress.at(number, f"{audio_s / (time.perf_counter() - began):.0f}× real time")
            if isinstance(result, InputError):
                failed += 1
                console.error(str(result))
                continue
            audio_s += result.duration_s
            if file in places:
                places[file].parent.mkdir(parents=True, exist_ok=True)
                write_whole(places[file], write(result))
            else:
                prefix = f"{file}: " if format == "txt" and len(files) > 1 else ""
                print(prefix + write(result), end="", flush=True)
    elapsed_s = time.perf_counter() - began
    console.say(
        f"{len(missing) - failed} of {len(missing)} files, {audio_s / 60:.1f} min of audio in {elapsed_s:.1f} s "
        f"({audio_s / elapsed_s:.0f}× real time)"
    )
    return failed
