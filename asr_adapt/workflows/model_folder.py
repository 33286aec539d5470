"""What is done with a model that is there: score it on a corpus, put an n-gram or engines beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_adapt import audio, corpora
from asr_adapt.artifacts import Metrics, ModelMetadata
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.errors import InputError
from asr_adapt.inference import engines
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import ctc_model
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance
from asr_adapt.report import publish
from asr_adapt.stages import evaluate, export, lm
from asr_adapt.storage import make_folder, read_lines


def evaluate_folder(
    model_folder: Path,
    corpus: Source,
    split: str,
    out: Path,
    console: Console,
    *,
    sound: bool = True,
    names: bool = False,
) -> Metrics:
    """Score a model's folder on one split of a corpus on disk; `publish.page` says what `sound` and `names` are.

    Raises:
        InputError: the model or the corpus is not there, or the split is empty.
    """
    transcriber = Transcriber.from_folder(model_folder)
    utterances = _split(corpus, transcriber.model.language, split)
    metrics = evaluate.evaluate(transcriber, utterances, utterances.__getitem__, split, out, console)
    console.say(f"report: {publish.page(out, model_folder, sound=sound, names=names)}")
    return metrics


def add_ngram(model_folder: Path, texts: Sequence[Path], order: int, tune: Source | None, console: Console) -> None:
    """Put an n-gram beside a model: of its run's training text and of text files, tuned on dev.

    Args:
        model_folder: A run's `model/`; training text and dev split are used where they still stand beside it.
        texts: Text files, UTF-8, a sentence a line.
        order: Words in the longest n-gram.
        tune: A corpus whose dev split chooses the weights instead of the run's.
        console: Where to report.

    Raises:
        InputError: a file cannot be read, there is no text, or ctc-beam-decoder does not run here.
    """
    said: list[tuple[Path, Sequence[str]]] = [(path, read_lines(path)) for path in texts]
    data = model_folder.resolve().parent / "data"
    if (data / "train.arrow").exists():
        said.append((data / "train.arrow", prepared.load(data, "train").texts))
    for path, lines in said:
        console.say(f"{path}: {len(lines):,} lines")
    adapted = ctc_model.CTCModel.load(model_folder)
    make_folder(model_folder, "Copy the model to where you may write.")  # before minutes of tuning
    dev = None
    if tune is not None:
        utterances = _split(tune, adapted.language, "dev")

        def waveform(index: int) -> np.ndarray:
            piece = utterances[index]
            return audio.load(piece.audio, start_s=piece.start_s, end_s=piece.end_s)

        dev = lm.Heard.of(adapted, waveform, [u.text or "" for u in utterances], console)
    elif (data / "dev.arrow").exists():
        kept = prepared.load(data, "dev")
        dev = lm.Heard.of(adapted, kept.waveform, kept.texts, console)
    lm.lm(model_folder, [line for _, lines in said for line in lines], order, dev, console)


def export_engines(
    model_folder: Path, names: Sequence[str], check: bool, corpus: Source | None, console: Console
) -> None:
    """Make engines beside a model, and measure them on dev.

    Args:
        model_folder: A run's `model/`.
        names: Of `engines.NAMES`; without one, all that can run here.
        check: Measure them on the run's dev split, which must still stand beside the model.
        corpus: Measure them on this corpus's dev split instead.
        console: Where to report.

    Raises:
        InputError: an engine is unknown, or cannot be made or run here; there is no dev split.
    """
    wanted = [engines.resolved(model_folder, name) for name in names or filter(engines.runs_here, engines.NAMES)]
    dev = None
    if corpus is not None:
        utterances = _split(corpus, ModelMetadata.read(model_folder).language, "dev")
        dev = export.Dev(utterances.__getitem__, [u.text or "" for u in utterances])
    elif check:
        data = model_folder.resolve().parent / "data"
        if not (data / "dev.arrow").exists():
            raise InputError("the run's dev split is not there", place=data, remedy="Name a --corpus with one.")
        kept = prepared.load(data, "dev")
        dev = export.Dev(kept.waveform, kept.texts)
    export.export(model_folder, wanted, dev, console)


def _split(corpus: Source, language: str, split: str) -> list[Utterance]:
    """Return the utterances of one split of a corpus.

    Raises:
        InputError: the corpus is not there, or has none.
    """
    utterances = [u for u in corpora.read_all([corpus], language).utterances if u.split == split]
    if not utterances:
        raise InputError(f"the {split} split is empty", place=corpus.root, remedy="Name another split or corpus.")
    return utterances
