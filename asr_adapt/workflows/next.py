"""next: what to transcribe next in a folder, by what its transcripts and the model's training text lack."""

from collections.abc import Sequence
from pathlib import Path

from asr_adapt import corpora
from asr_adapt.audio import media
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.readers import READERS
from asr_adapt.errors import InputError, NoUtterances
from asr_adapt.inference import recordings
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance, describe_duration
from asr_adapt.stages import next as stage

_TIER = "transcript"


def propose(
    folder: Path, model_folder: Path, minutes: float, out: Path | None, console: Console, corpus: Source | None = None
) -> list[stage.Proposal]:
    """Print which stretches of a folder's recordings to transcribe next, and write them where `out` is given.

    Args:
        folder: Recordings, with or without transcripts in a format of `corpora`; or one recording,
            whose transcripts are looked up in its folder.
        model_folder: A run's `model/`; the training text that stands beside it counts as known.
        minutes: Of speech to choose.
        out: Folder for the list and the .eaf files.
        console: Where to report.
        corpus: How transcripts in the folder are read; None: they are recognised.

    Raises:
        InputError: there is no recording, no speech without a transcript, or a file cannot be read or written.
    """
    inputs = recordings.find([str(folder)])
    transcriber = Transcriber.from_folder(model_folder)
    transcribed = _transcribed(corpus or Source(root=folder), transcriber.model.language, console)
    known = _training_texts(model_folder) | {transcriber.model.normaliser(u.text or "") for u in transcribed}
    speech = stage.survey(transcriber, inputs, transcribed, console)
    found_s = sum(s.end_s - s.start_s for s in speech.stretches)
    console.say(
        f"{len(speech.stretches):,} stretches of speech without a transcript, {describe_duration(found_s)}; "
        f"{len(known):,} known sentences"
    )
    proposals = stage.propose(speech, minutes * 60, sorted(known), transcriber)
    if not proposals:
        raise InputError(
            f"no stretch of speech without a transcript fits into {minutes:g} minutes",
            place=folder,
            remedy="Add recordings, or give more --minutes.",
        )
    stage.show(proposals, console)
    chosen_s = sum(p.stretch.end_s - p.stretch.start_s for p in proposals)
    console.say(f"{len(proposals)} stretches, {describe_duration(chosen_s)}")
    if out is not None:
        files = stage.write(proposals, out, _TIER)
        console.say(f"{out}: next.json and {len(files)} .eaf files with empty annotations")
    return proposals


def _transcribed(source: Source, language: str, console: Console) -> Sequence[Utterance]:
    """Return what people transcribed or corrected in a folder, that of a recording where one is given.

    Nothing where it holds recordings alone.
    """
    root = source.root
    assert isinstance(root, Path)
    if root.is_file() and media.is_audio(root):  # its transcript is beside it
        root = root.absolute().parent
        source = source.model_copy(update={"root": root})
    if source.format is None and not any(reader.recognises(root) for reader in READERS.values()):
        return []
    everything = source.model_copy(update={"trust_drafts": True, "split": "train", "splits": "own"})
    try:
        found = corpora.read_all([everything], language).utterances
    except NoUtterances:
        return []
    machine = [u for u in found if u.provenance == "machine"]
    if machine:
        console.say(f"{len(machine):,} segments are drafts that nobody corrected: they count as not transcribed")
    return [u for u in found if u.text and u.provenance != "machine"]


def _training_texts(model_folder: Path) -> set[str]:
    """Return the training text that stands beside a run's model."""
    data = model_folder.resolve().parent / "data"
    return set(prepared.load(data, "train").references) if prepared.path_of(data, "train").exists() else set()
