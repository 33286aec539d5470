"""What is done with a model that is there: score it on a corpus, put an n-gram or engines beside it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from asr_adapt import bundled, corpora
from asr_adapt.artifacts import DIGESTS, Contamination, Metrics, ModelMetadata
from asr_adapt.console import Console
from asr_adapt.corpora import checks, prepared, trained_on
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.errors import InputError
from asr_adapt.inference import engines
from asr_adapt.inference.calibration import DevOutputs
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import ctc_model
from asr_adapt.recipe import Source
from asr_adapt.report import assessment
from asr_adapt.report.write import write_page
from asr_adapt.stages import evaluate, export, lm
from asr_adapt.storage import make_folder, read_lines, unwritable_as_error, write_text
from asr_adapt.text.normaliser import Normaliser


def evaluate_folder(
    model_folder: Path,
    corpus: Source,
    split: str,
    out: Path,
    console: Console,
    *,
    sound: bool = True,
    names: bool = False,
    use_ngram: bool = True,
    allow_trained: bool = False,
) -> Metrics:
    """Score a model's folder on one split of a corpus on disk; see `write_page` for `sound` and `names`.

    Clips that the model was trained on are left out and counted, or, with `allow_trained`, scored and counted.

    Raises:
        InputError: the model or the corpus is not there, the split is empty, or the model was trained on all of it.
    """
    transcriber = Transcriber.from_folder(model_folder, use_ngram=use_ngram)
    model = transcriber.model
    speech, excluded, contamination = _split(corpus, split, model.language, model.normaliser, model_folder, console,
                                    allow_trained)  # fmt: skip
    evaluation = evaluate.evaluate(transcriber, speech, out, console, excluded, contamination)
    found = assessment.assess(out, evaluation)
    found.write(out)
    page = write_page(out, model_folder, evaluation=evaluation, sound=sound, names=names)
    assessment.show(found, console)
    console.say(f"report: {page}")
    return evaluation.metrics


def add_ngram(
    model_folder: Path,
    texts: Sequence[Path],
    order: int,
    tune: Source | None,
    console: Console,
    *,
    allow_trained: bool = False,
) -> None:
    """Put an n-gram beside a model: of its run's training text and of text files, tuned on dev.

    Args:
        model_folder: A run's `model/`; training text and dev split are used where they still stand beside it.
        texts: Text files, UTF-8, a sentence a line.
        order: Words in the longest n-gram.
        tune: A corpus whose dev split chooses the weights instead of the run's.
        console: Where to report.
        allow_trained: Tune on clips of that corpus that the model was trained on, too.

    Raises:
        InputError: a file cannot be read, there is no text, or ctc-beam-decoder does not run here.
    """
    sources: list[tuple[Path, Sequence[str]]] = [(path, read_lines(path)) for path in texts]
    data = model_folder.resolve().parent / "data"
    if (data / "train.arrow").exists():
        sources.append((data / "train.arrow", prepared.load(data, "train").references))
    for path, lines in sources:
        console.say(f"{path}: {len(lines):,} lines")
    adapted = ctc_model.CTCModel.load(model_folder)
    make_folder(model_folder, "Copy the model to where you may write.")  # before minutes of tuning
    dev = None
    if tune is not None:
        dev, _, _ = _split(tune, "dev", adapted.language, adapted.normaliser, model_folder, console, allow_trained)
    elif (data / "dev.arrow").exists():
        dev = prepared.load(data, "dev")
    outputs = DevOutputs.of(adapted, dev, console) if dev is not None else None
    lm.lm(model_folder, [line for _, lines in sources for line in lines], order, outputs, console)


def seal_model(model_folder: Path, console: Console) -> None:
    """Write the digests of a model's files anew, after a deliberate edit; the model must load as it is now.

    Raises:
        InputError: the model cannot be loaded, or the folder cannot be written; its digests are then as before.
    """
    path = model_folder / DIGESTS
    with unwritable_as_error(path, "Copy the model to where you may write."):
        before = path.read_text("utf-8", "replace") if path.is_file() else None
        path.unlink(missing_ok=True)
        try:
            ctc_model.CTCModel.load(model_folder)
            names = ctc_model.seal(model_folder)
        except BaseException:
            if before is not None:
                write_text(path, before)
            raise
    console.result(f"{path}: digests of {', '.join(names)}")


def export_engines(
    model_folder: Path,
    names: Sequence[str],
    check: bool,
    corpus: Source | None,
    console: Console,
    *,
    allow_trained: bool = False,
) -> None:
    """Make engines beside a model, and measure them on dev.

    Args:
        model_folder: A run's `model/`.
        names: Of `engines.NAMES`; without one, all that can run here.
        check: Measure them on the run's dev split, which must still stand beside the model.
        corpus: Measure them on this corpus's dev split instead.
        console: Where to report.
        allow_trained: Measure them on clips of that corpus that the model was trained on, too.

    Raises:
        InputError: an engine is unknown, or cannot be made or run here; there is no dev split.
    """
    wanted = [engines.resolved(model_folder, name) for name in names or filter(engines.runs_here, engines.NAMES)]
    dev = None
    if corpus is not None:
        metadata = ModelMetadata.read(model_folder)
        normaliser = Normaliser(metadata.normaliser, metadata.language)
        dev, _, _ = _split(corpus, "dev", metadata.language, normaliser, model_folder, console, allow_trained)
    elif check:
        data = model_folder.resolve().parent / "data"
        if not (data / "dev.arrow").exists():
            raise InputError("the run's dev split is not there", place=data, remedy="Name a --corpus with one.")
        dev = prepared.load(data, "dev")
    export.export(model_folder, wanted, dev, console)


def _split(
    corpus: Source, name: str, language: str, normalise: Normaliser, model_folder: Path, console: Console, allow: bool
) -> tuple[SpeechSplit, dict[str, int], Contamination]:
    """Return one split of a corpus on disk, and what was left out of it.

    That is what `text.unclear` marks, counted by reason, and, unless `allow`, what the model was trained
    on. Where splits are made, they are those that the model's run made of the same corpus.

    Raises:
        InputError: the corpus does not exist, the split is empty, or the model was trained on all of it.
    """
    made = corpora.KeptSplits.of_run(model_folder.resolve().parent)
    utterances = [u for u in corpora.read_all([corpus], language, kept=made).utterances if u.split == name]
    kept, excluded = checks.understood(utterances, normalise)
    if not kept:
        raise InputError(f"the {name} split is empty", place=corpus.root, remedy="Name another split or corpus.")
    known = TrainedOn.read(model_folder)
    embedded = {bundled.folder(name).resolve() for name in bundled.BASES.values()}
    if known is None and model_folder.resolve() in embedded:
        known = TrainedOn.nothing()  # its card lists it
    speech, found = trained_on.check(
        SpeechSplit.on_disk(name, kept, normalise), known, model_folder, console, allow=allow
    )
    return speech, dict(Counter(exclusion.reason for exclusion in excluded)), found
