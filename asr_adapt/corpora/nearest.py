"""What to say of a folder or file that no reader knows: what was seen, the nearest format, and what it lacks."""

from collections import Counter
from itertools import islice
from pathlib import Path

from asr_adapt.audio import media
from asr_adapt.corpora.readers import READERS
from asr_adapt.errors import InputError

_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
_TABLES = (".csv", ".tsv", ".xlsx")
_DOCUMENTS = {
    ".xls": "Save it as .xlsx or .csv.",
    ".ods": "Save it as .xlsx or .csv.",
    ".doc": "Save it as plain text: a .txt beside each recording, or a .csv with a row for each.",
    ".docx": "Save it as plain text: a .txt beside each recording, or a .csv with a row for each.",
    ".pdf": "Save it as plain text: a .txt beside each recording, or a .csv with a row for each.",
    ".flextext": "Export it from FLEx as ELAN (.eaf) or as a table.",
}
_MOST_LOOKED_AT = 100_000


def unknown_layout(root: Path) -> InputError:
    """Return the error for what no reader recognises."""
    seen, lacking = _of_file(root) if root.is_file() else _of_folder(root)
    return InputError(
        f"no corpus of a known layout: {seen}",
        place=root,
        remedy=f"{lacking} All layouts are in docs/corpora.md; --corpus.format says which one is meant.",
    )


def _of_file(root: Path) -> tuple[str, str]:
    suffix = root.suffix.lower()
    seen = f"it is a {suffix or 'file without a suffix'}" + (" file" if suffix else "")
    if suffix in media.SUFFIXES:
        return seen, "Give the folder that holds the recordings and their transcripts."
    if suffix in _ARCHIVES:
        return seen, "Unpack it, and give the folder."
    if suffix in (".json", ".jsonl", ".gz"):
        return (
            seen,
            "The nearest are nemo and lhotse; its first line has no audio_filepath or supervisions.",
        )
    return seen, _DOCUMENTS.get(suffix, "A corpus in one file is a .csv, .tsv, .xlsx or .jsonl.")


def _of_folder(root: Path) -> tuple[str, str]:
    paths = [Path(name) for name in islice(media.files_below(root), _MOST_LOOKED_AT)]
    if not paths:
        return "the folder is empty", "Give the folder that holds the recordings and their transcripts."
    kinds = Counter(path.suffix.lower() or path.name for path in paths)
    seen = "it has " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(5))
    return seen + (" and others" if len(kinds) > 5 else ""), _lacking(root, paths)


def _lacking(root: Path, paths: list[Path]) -> str:
    """Return the nearest format and the one thing that it lacks."""
    recordings = [path for path in paths if media.is_audio(path)]
    texts = [path for path in paths if path.suffix.lower() == ".txt"]
    tables = [path for path in paths if path.suffix.lower() in _TABLES]
    names = {path.name: path for path in reversed(paths)}
    inner = {path.parts[0] for path in paths if len(path.parts) > 1}
    known = [
        (name, kind)
        for name in sorted(inner)[:20]
        for kind, reader in READERS.items()
        if reader.recognises(root / name)
    ]
    if len(known) == 1:
        return f"Its folder '{known[0][0]}' is one ({known[0][1]}): give that."
    archives = [path for path in paths if path.suffix.lower() in _ARCHIVES]
    if archives and not recordings:
        return f"Unpack {archives[0]} first."
    if "wav.scp" in names or {"segments", "utt2spk"} & names.keys():
        lacks = "text" if "wav.scp" in names else "wav.scp"
        return f"The nearest is kaldi; it lacks {lacks}."
    if lines := [path for path in paths if path.name.endswith((".jsonl", ".jsonl.gz"))]:
        return f"The nearest is manifest: give the file, {root / lines[0]}."
    if len(tables) > 1:
        return (
            f"The nearest is table; of {len(tables)} tables none is named as a split (train, dev, test): give one of "
            f"them, as {root / tables[0]}."
        )
    if tables:
        return f"The nearest is table: give the file, {root / tables[0]}."
    if documents := [path for path in paths if path.suffix.lower() in _DOCUMENTS]:
        return f"{documents[0]} cannot be read. {_DOCUMENTS[documents[0].suffix.lower()]}"
    if texts and recordings:
        return (
            "The nearest is text_files; no .txt has the name of a recording beside it: "
            f"{texts[0]} and {recordings[0]}, for example."
        )
    if recordings:
        return "The nearest is text_files; it lacks transcripts: a .txt of the same name beside each recording."
    if texts:
        return "The nearest is text_files; it lacks recordings of the same names beside the .txt files."
    return "It lacks recordings and transcripts."
