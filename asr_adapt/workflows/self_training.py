"""Self-training: a run's model transcribes recordings without transcripts, and the next one learns from that, too.

Noisy student training (Park et al. 2020, "Improved noisy student training for automatic speech recognition",
arXiv:2005.09629): in each round the best model so far, with an n-gram of the train split's transcripts where that
helps, writes what is said in the recordings; what is likely to be right is kept (`training.pseudo_labels`); and a
new model is trained from the base on both, with the recipe's augmentation. Dev, whose transcripts are people's, says
which round is best, and ends the rounds when one brings nothing. Test is scored once, with the best round's model.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_adapt import corpora, processes
from asr_adapt.artifacts import Calibrations, PseudoLabels, SelfTraining, SelfTrainingRound
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ngram
from asr_adapt.decoding.beam_search import BeamSearch, BeamSearchUnavailable
from asr_adapt.errors import InputError
from asr_adapt.inference.calibration import DevOutputs
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.device import best_device
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import Resolved, read_recipe, write_recipe
from asr_adapt.records import Utterance, counted, describe_duration, read_jsonl, write_jsonl
from asr_adapt.scoring import error_rates
from asr_adapt.stages import lm, train
from asr_adapt.storage import atomic_folder
from asr_adapt.training import memory, presets, pseudo_labels, schedule
from asr_adapt.training.pseudo_labels import Expectation, Scored
from asr_adapt.training.state import badness, validation_error_rates
from asr_adapt.workflows import adapted
from asr_adapt.workflows.plan import RunPlan, TrainingPlan
from asr_adapt.workflows.run_state import RunState

STAGE = "self-train"
_TEXTS, _LABELS, _ROUND = "pseudo_labels.jsonl", "pseudo_labels.json", "round.json"
_ORDER = 3  # of the n-gram
_TUNED_ON = 100  # clips of dev; each of some 60 settings of the n-gram's weights decodes them all
# What people transcribed is drawn more often than its hours say (`schedule.Sampling`), as small corpora are.
_TEMPERATURE = 2.0


def self_train(plan: RunPlan, training: TrainingPlan, out: Path, console: Console) -> TrainingPlan:
    """Do the rounds in a run folder whose training is done, and leave the best one's model as the run's.

    Each round has a folder in `out/rounds`; an interrupted one is resumed. Without `train.unlabelled` the run's model
    is that of training, also where there were rounds before.

    Returns:
        The plan, with the inputs of what follows.

    Raises:
        InputError: there is no speech in the recordings, or a round's files are damaged.
    """
    recipe = training.recipe
    if recipe.train.unlabelled is None or not recipe.train.unlabelled_rounds:
        processes.from_leader(lambda: _undo(out, console))
        return training
    training = replace(training, inputs=processes.from_leader(lambda: plan.self_training_inputs(training)))
    console.heading("self-train")
    if not processes.from_leader(lambda: _begin(plan, training, out, console)):
        console.say("already done")
        return training
    rounds = [_first(training, out)]
    while len(rounds) <= recipe.train.unlabelled_rounds:
        best = min(rounds, key=_badness)
        if best is not rounds[-1]:
            console.say(f"round {rounds[-1].number} brings nothing on dev: self-training ends")
            break
        rounds.append(_round(plan, training, best, len(rounds), out, console))
        processes.from_leader(lambda: _show(rounds, console))
    processes.from_leader(lambda: _finish(rounds, out, console))
    return training


def _badness(found: SelfTrainingRound) -> float:
    return badness(found.wer, found.cer)


def _folder(out: Path, number: int) -> Path:
    return out / "rounds" / f"{number:02}"


def _undo(out: Path, console: Console) -> None:
    stages = RunState(out)
    if stages.was_started(STAGE):
        console.warn("self-training is no longer asked for: the model of training alone is the run's again")
        _adopt(_folder(out, 0), out)
        SelfTraining.path_of(out).unlink(missing_ok=True)
        stages.forget(STAGE)
        shutil.rmtree(out / "rounds")


def _adopt(source: Path, target: Path) -> None:
    """Copy the model, and the adapter where there is one, to another folder."""
    for name in ("adapter", "model"):
        if (source / name).is_dir():
            with atomic_folder(target / name) as partial:
                shutil.copytree(source / name, partial, dirs_exist_ok=True)


def _begin(plan: RunPlan, training: TrainingPlan, out: Path, console: Console) -> bool:
    """Make the run folder ready for rounds; return False if they are done."""
    stages, first = RunState(out), _folder(out, 0)
    if stages.is_done(STAGE, training.inputs):
        done = SelfTraining.read_file(SelfTraining.path_of(out), "Delete it and run again.")
        if done.best < len(done.rounds) - 1 or len(done.rounds) > training.recipe.train.unlabelled_rounds:
            return False
        console.say(
            f"{counted(len(done.rounds) - 1, 'round')} done, of now {training.recipe.train.unlabelled_rounds}"
        )
        stages.begin(STAGE, training.inputs)
    if not stages.is_begun(STAGE, training.inputs):
        if stages.was_started(STAGE):
            console.warn("training or the recordings changed: restarting self-training")
            _adopt(first, out)
            for later in (path for path in (out / "rounds").iterdir() if path.is_dir() and path != first):
                shutil.rmtree(later)
        stages.begin(STAGE, training.inputs)
    if not first.is_dir():
        _adopt(out, first)
    plan.cut_unlabelled(out, console)
    return True


def _first(training: TrainingPlan, out: Path) -> SelfTrainingRound:
    """Return round 0, the model of labels alone, scored on dev; every process takes part."""
    folder = _folder(out, 0)
    if not processes.from_leader((folder / _ROUND).exists):
        model = _load(folder)
        precision = _precision(training.recipe)
        wer, cer = validation_error_rates(model, prepared.load(out / "data", "dev"), precision)
        if processes.leads():
            SelfTrainingRound(number=0, wer=wer, cer=cer).write_file(folder / _ROUND)
    return processes.from_leader(lambda: _read(folder / _ROUND))


def _load(folder: Path) -> CTCModel:
    model = CTCModel.load(folder / "model")
    model.net.to(best_device())  # type: ignore[arg-type]
    return model


def _precision(recipe: Resolved) -> Precision:
    return mixed_precision.recorded_or_fastest(recipe.train.precision, best_device())


def _read(path: Path) -> SelfTrainingRound:
    return SelfTrainingRound.read_file(path, "Delete it; the round is done again.")


def _round(
    plan: RunPlan, training: TrainingPlan, teacher: SelfTrainingRound, number: int, out: Path, console: Console
) -> SelfTrainingRound:
    """Do a round, or what is left of it, and return its result; every process takes part."""
    folder = _folder(out, number)
    if processes.from_leader((folder / _ROUND).exists):
        return _read(folder / _ROUND)
    console.heading(f"self-train, round {number} of at most {training.recipe.train.unlabelled_rounds}")
    labels = processes.from_leader(lambda: _label(training.recipe, teacher, number, out, console))
    if not labels.segments:
        raise InputError(
            "nothing that the model wrote is likely enough to be right",
            place="train.unlabelled",
            remedy="Transcribe more first, or leave the field out.",
        )
    speech = prepared.load(out / "data", "unlabelled")
    texts = {u.id: u.hypothesis or "" for _, u in read_jsonl(folder / _TEXTS)}
    indices = [index for index, u in enumerate(speech.utterances) if u.id in texts]
    pseudo = speech.select(indices)
    pseudo = pseudo.with_references([texts[u.id] for u in pseudo.utterances])
    labelled, dev = prepared.load(out / "data", "train"), prepared.load(out / "data", "dev")
    recipe = processes.from_leader(
        lambda: _kept(folder / "recipe.toml", lambda: _recipe(plan, training, labelled, pseudo, dev, console))
    )
    student = adapted.new(recipe, plan.base, out, console)
    sampling = _sampling(recipe, labelled, pseudo)
    console.say(
        f"{sampling.shares[:-1].sum():.0%} of what is drawn was transcribed by people, the rest by "
        f"the model of round {teacher.number}"
    )
    outcome = train.train(recipe, student, labelled + pseudo, dev, folder, console, sampling)
    if processes.leads():
        heard = adapted.heard(plan, recipe, out, console, own_text=True)
        adapted.save(plan, recipe, adapted.calibrated(student, dev, recipe, console), folder, heard)
        SelfTrainingRound(number=number, labels=labels, wer=outcome.best_wer, cer=outcome.best_cer).write_file(
            folder / _ROUND
        )
        shutil.rmtree(folder / "data", ignore_errors=True)
        shutil.rmtree(folder / "checkpoints")
    return processes.from_leader(lambda: _read(folder / _ROUND))


def _kept(path: Path, make: Callable[[], Resolved]) -> Resolved:
    """Return the recipe that a round was begun with, else make it and keep it: a resumed round goes on with it."""
    if not path.exists():
        write_recipe(make(), path)
    return Resolved.model_validate(read_recipe(path).model_dump())


def _recipe(
    plan: RunPlan,
    training: TrainingPlan,
    labelled: SpeechSplit,
    pseudo: SpeechSplit,
    dev: SpeechSplit,
    console: Console,
) -> Resolved:
    """Return the recipe of a round: what was left open is chosen by all hours, those that the model labelled too.

    Steps that the recipe gives are those of labels alone: a round has as many times more as the presets have.
    """
    own_hours, hours, dev_hours = (float(s.durations_s.sum()) / 3600 for s in (labelled, labelled + pseudo, dev))
    fields = plan.recipe.train
    steps = fields.unlabelled_steps
    if steps is None and fields.steps is not None:
        few, many = (presets.default_steps(plan.recipe, h, plan.base.config.hidden_size) for h in (own_hours, hours))
        steps = round(fields.steps * max(1.0, many / few))
    wanted = plan.recipe.model_copy(
        update={
            "model": training.recipe.model,
            "train": fields.model_copy(
                update={
                    "precision": training.recipe.train.precision,
                    "steps": steps,
                }
            ),
        }
    )
    recipe, _ = presets.resolve(wanted, hours, plan.base.config.hidden_size, dev_hours)
    if plan.recipe.train.batch_s is None:
        free = memory.free_bytes(best_device())
        recipe, _ = memory.fit(recipe, plan.base.config, processes.count(), free, console.warn)
    return recipe


def _sampling(recipe: Resolved, labelled: SpeechSplit, pseudo: SpeechSplit) -> schedule.Sampling:
    """Return how the recipe's corpora, and after them what the model labelled, are mixed."""
    named = corpora.sources(recipe)
    numbers = corpora.corpus_numbers(labelled.utterances, named) if len(named) > 1 else [0] * len(labelled)
    return schedule.Sampling.of(
        [*labelled.durations_s, *pseudo.durations_s],
        [*numbers, *[len(named)] * len(pseudo)],
        [*(source.weight for source in named), 1.0],
        max(_TEMPERATURE, recipe.train.sampling_temperature),
    )


@dataclass(frozen=True)
class _Writer:
    """How the recordings are transcribed, and what its text is worth."""

    transcriber: Transcriber
    expectation: Expectation | None
    cer: float
    """on dev"""


def _label(recipe: Resolved, teacher: SelfTrainingRound, number: int, out: Path, console: Console) -> PseudoLabels:
    """Transcribe the recordings with a round's model, and write what is worth training on into the next folder."""
    folder = _folder(out, number)
    if (folder / _LABELS).exists():
        return PseudoLabels.read_file(folder / _LABELS, "Delete it; the recordings are transcribed again.")
    labelled, dev = prepared.load(out / "data", "train"), prepared.load(out / "data", "dev")
    # The confidence of the output itself, not that of `transcribe`, which is calibrated by words.
    model = replace(_load(_folder(out, teacher.number)), calibrations=Calibrations())
    sentences = ngram.estimate(labelled.references, _ORDER)
    with tempfile.TemporaryDirectory(prefix="asr-adapt-") as scratch:
        search = _search(model, labelled, dev, Path(scratch), recipe, console)
        ways = [None] if search is None else [None, search]
        writers = [
            _writer(Transcriber(model, precision=_precision(recipe), search=way), dev, sentences, console)
            for way in ways
        ]
        writer = min(writers, key=lambda one: one.cer)
        with_ngram = writer.transcriber.search is not None
        speech = prepared.load(out / "data", "unlabelled")
        texts = _written(writer.transcriber, speech, "transcribe recordings", console, sentences)
    kept = pseudo_labels.chosen(texts, writer.expectation, writer.cer)
    rows: list[Utterance] = []
    expected = []
    for index in kept:
        one = texts[index]
        assert one is not None
        rows.append(speech.utterances[index].model_copy(update={"hypothesis": one.text, "provenance": "machine"}))
        if writer.expectation:
            expected.append((writer.expectation.cer(one), len(one.text)))
    seconds = float(speech.durations_s[kept].sum())
    console.say(
        f"kept {len(kept):,} of {counted(len(speech), 'segment')}, {describe_duration(seconds)} of "
        f"{describe_duration(float(speech.durations_s.sum()))}; {sum(one is None for one in texts):,} without a word"
        + (f"; the others are likely to be worse than dev (CER {writer.cer:.3f})" if writer.expectation else "")
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / _TEXTS, rows)
    labels = PseudoLabels(
        segments=len(kept),
        hours=seconds / 3600,
        expected_cer=(sum(cer * size for cer, size in expected) / sum(size for _, size in expected))
        if expected
        else None,
        with_ngram=with_ngram,
    )
    labels.write_file(folder / _LABELS)
    return labels


def _search(
    model: CTCModel, labelled: SpeechSplit, dev: SpeechSplit, scratch: Path, recipe: Resolved, console: Console
) -> BeamSearch | None:
    """Return the search with an n-gram of the transcripts, tuned on dev; None where it does not lower dev's WER."""
    try:
        outputs = DevOutputs.of(model, dev.evenly(_TUNED_ON), console, _precision(recipe))
        made = lm.estimated(model, labelled.references, (), _ORDER, outputs, console)
        if made is None:
            console.say("an n-gram of the transcripts does not lower the WER on dev: decoding greedily")
            return None
        arpa, weights, _ = made
        file = scratch / "transcripts.arpa"
        file.write_text(arpa, encoding="utf-8")
        return BeamSearch(model.alphabet, file, weights)
    except BeamSearchUnavailable as error:
        console.warn(f"{error}: decoding greedily")
        return None


def _writer(transcriber: Transcriber, dev: SpeechSplit, sentences: ngram.NGram, console: Console) -> _Writer:
    """Return a transcriber with what its text is worth on dev, and say it."""
    written = _written(transcriber, dev, "transcribe dev", console, sentences)
    cer = error_rates.rates([(r, one.text if one else "") for r, one in zip(dev.references, written, strict=True)])[1]
    told = [(one, r) for r, one in zip(dev.references, written, strict=True) if one is not None and r]
    expectation = Expectation.fit([one for one, _ in told], [reference for _, reference in told])
    way = "with the n-gram" if transcriber.search else "greedily"
    if expectation:
        told_by = f"a clip's CER is told with a correlation of {expectation.correlation:.2f}"
    else:
        told_by = f"{counted(len(told), 'clip')} are too few to tell which text is right: all is kept"
    console.say(f"dev, decoded {way}: CER {cer:.3f}; {told_by}")
    return _Writer(transcriber, expectation, cer)


def _written(
    transcriber: Transcriber, speech: SpeechSplit, title: str, console: Console, sentences: ngram.NGram
) -> list[Scored | None]:
    """Return what a model writes of each segment of prepared speech, None where that is nothing."""
    normalise = transcriber.model.normaliser
    found: list[Scored | None] = []
    with console.progress(title, total=len(speech)) as bar:
        for result in bar.over(transcriber.transcribe_segments(speech.recordings())):
            if isinstance(result, InputError):
                raise result
            text = normalise(result.text)
            found.append(Scored.of(result, text, sentences) if text else None)
    return found


def _show(rounds: Sequence[SelfTrainingRound], console: Console) -> None:
    console.table(
        "rounds of self-training",
        ("round", "own text", "expected CER of it", "WER on dev", "CER on dev"),
        [
            (
                f"{each.number}",
                describe_duration(each.labels.hours * 3600) if each.labels else "",
                f"{each.labels.expected_cer:.3f}" if each.labels and each.labels.expected_cer is not None else "",
                f"{each.wer:.3f}",
                f"{each.cer:.3f}",
            )
            for each in rounds
        ],
    )


def _finish(rounds: Sequence[SelfTrainingRound], out: Path, console: Console) -> None:
    """Take the best round's model for the run's, and delete those that no further round would begin with."""
    best = min(rounds, key=_badness)
    _adopt(_folder(out, best.number), out)
    for each in (each for each in rounds[1:] if each is not best):
        for name in ("model", "adapter"):
            shutil.rmtree(_folder(out, each.number) / name, ignore_errors=True)
    SelfTraining(rounds=tuple(rounds), best=best.number).write_file(SelfTraining.path_of(out))
    RunState(out).finish(STAGE)
    gain = _badness(rounds[0]) - _badness(best)
    console.say(
        f"best on dev: round {best.number}"
        + (f", WER {rounds[0].wer:.3f} → {best.wer:.3f}, CER {rounds[0].cer:.3f} → {best.cer:.3f}" if gain else "")
    )
