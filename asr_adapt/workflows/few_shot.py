"""few-shot: a model folder from a word list and no, one or a few transcribed clips, in seconds."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from asr_adapt import corpora
from asr_adapt.artifacts import Calibration, NGramWeights
from asr_adapt.console import Console
from asr_adapt.corpora import trained_on
from asr_adapt.corpora.elsewhere import content_digests
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding.beam_search import BeamSearchUnavailable
from asr_adapt.errors import InputError
from asr_adapt.inference.calibration import DevOutputs
from asr_adapt.model import base, ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Recipe
from asr_adapt.records import Utterance
from asr_adapt.stages import few_shot, lm
from asr_adapt.storage import atomic_folder, read_lines, unwritable_as_error
from asr_adapt.text import letters
from asr_adapt.text.normaliser import Normaliser

LETTERS = "letters.tsv"
_ORDER = 3
_TUNED_ON = 40  # clips; each of some 60 settings of the n-gram's weights decodes them all
# Kichwa, Mboshi and Yoruba (docs/log.md, Training or not): a minute of training from the corrected head lowers the
# CER with 48 s of speech and more, and raises it or leaves it as it is with 18 s and less.
_SPEECH_FOR_TRAINING_S = 45.0
_TRAIN = "With about a minute of speech or more, training is the better use of time, even a minute of it"
_TRANSCRIBE = "With less than a minute of speech training can make it worse: transcribe more first"


@dataclass(frozen=True)
class Wanted:
    """What a few-shot model is made of."""

    recipe: Recipe
    """language, base model, corpus and the normaliser's rules"""
    words: Path | None
    """a word a line"""
    texts: Sequence[Path]
    """sentences, one a line"""
    letters: str | None
    """a table's file, or one of `g2p.SOURCES`; None: guessed"""
    shots: int
    """transcribed clips, of the corpus's train split"""
    seed: int = 0
    """of the choice of clips"""


def few_shot_model(wanted: Wanted, out: Path, console: Console) -> CTCModel:
    """Write a model folder that transcribes a language, with `letters.tsv` and an n-gram beside it; return the model.

    Raises:
        InputError: the folder already exists; there is neither word nor text, or it holds no letter; the base model
            writes no phones; a table cannot be had; or the corpus has too few clips.
    """
    began = time.monotonic()
    if out.exists():
        raise InputError("already exists", place=out, remedy="Give another --out.")
    recipe, spec = wanted.recipe, wanted.recipe.model
    normalise = Normaliser(recipe.text, recipe.language)
    if wanted.words is None and not wanted.texts and not wanted.shots:
        raise InputError("no word, no text and no clip of the language", place="--words",
                         remedy="Give a file with a word a line, or --text FILE with sentences.")  # fmt: skip
    words = few_shot.normalised(read_lines(wanted.words) if wanted.words else [], normalise)
    sentences = few_shot.normalised([line for path in wanted.texts for line in read_lines(path)], normalise)
    pool: list[Utterance] = []
    if wanted.shots:
        reading = corpora.read_all(corpora.sources(recipe), recipe.language)
        pool = few_shot.draw(reading.utterances, wanted.seed)
        for note in reading.notes:
            console.say(note)
    transcripts = few_shot.normalised([u.text or "" for u in pool[: wanted.shots]], normalise)
    known = few_shot.Vocabulary(sorted({word for line in words for word in line.split()}), [*sentences, *transcripts])
    if not known.lines:
        raise InputError(
            "no letter in the words, texts and transcripts",
            place=wanted.words or "--text",
            remedy="Give words of the language.",
        )

    table = few_shot.letter_table(spec, recipe.language, known, wanted.letters, console)
    model = few_shot.zero_shot(spec, recipe.language, recipe, known, table)
    dev: DevOutputs | None = None
    heard: list[str] = []
    speech_s = 0.0
    trained = trained_on.of_base(base.folder(spec), spec.base)
    if wanted.shots:
        clips = few_shot.shots(pool, wanted.shots, model, recipe, console)
        features = few_shot.frames(model, clips, console)
        speech = SpeechSplit("train", clips.utterances, clips.texts, clips.waveforms.__getitem__)
        of_clips = TrainedOn.of([speech], console, content_digests({u.audio for u in clips.utterances}))
        if wanted.shots >= few_shot.FOLDS:
            new = _new_to(trained, of_clips, spec.base, console)
            dev = _cross_validated(model, features, clips.texts, new, console)
        model.net.lm_head = few_shot.corrected(model, features, clips.texts)
        heard, speech_s = list(clips.texts), clips.audio_s
        trained = of_clips + trained
        console.say(f"head corrected with {wanted.shots} clips, {speech_s:.0f} s of speech")
    made = _ngram(model, words, sentences, heard, dev, console)
    with unwritable_as_error(out, "Make room, or give another --out."), atomic_folder(out) as partial:
        model.write(partial, trained)
        letters.write_table(table, partial / LETTERS)
        if made is not None:
            ngram_file.write(partial, *made)
    console.say(f"model: {out} ({len(model.alphabet) - 2} letters and digraphs; {time.monotonic() - began:.0f} s)")
    _advise(model, speech_s, out, console)
    return model


def _new_to(trained: TrainedOn, clips: TrainedOn, name: str, console: Console) -> list[int]:
    """Return the indices of clips that the base model was not trained on; say which part that is."""
    if trained.unknown:
        console.say(f"what {name} was trained on is not known in full: it may have heard these clips")
    count = len(clips.rows)
    new = [i for i in range(count) if not trained.trained.find(clips.rows[i : i + 1])]
    if len(new) < count:
        console.warn(f"{name} was trained on {count - len(new)} of the {count} clips: not in cross-validation")
    return new


def _cross_validated(
    model: CTCModel, features: Sequence[torch.Tensor], texts: Sequence[str], new: Sequence[int], console: Console
) -> DevOutputs | None:
    """Say the error rates of held-out clips; return what tunes the n-gram, None: too little.

    Args:
        model: With the head before its correction.
        features: Of `few_shot.frames`.
        texts: Their transcripts.
        new: Indices of the clips that the base model was not trained on: only these are scored.
        console: Where to report.
    """
    if len(set(texts)) < 2:
        console.warn("no cross-validation: all the clips have the same transcript")
        return None
    if not new:
        console.warn("no cross-validation: the base model was trained on all the clips")
        return None
    outputs = few_shot.held_out(model, features, texts, console)
    outputs, references = [outputs[i] for i in new], [texts[i] for i in new]
    wer, cer = few_shot.rates(model, outputs, references)
    console.say(f"each clip by a head that was made without it (cross-validation): WER {wer:.3f}, CER {cer:.3f}")
    held_out = DevOutputs(outputs[:_TUNED_ON], references[:_TUNED_ON], name="cross-validation")
    return held_out if held_out.words >= lm.FEWEST_WORDS else None


def _ngram(
    model: CTCModel,
    words: Sequence[str],
    sentences: Sequence[str],
    heard: Sequence[str],
    dev: DevOutputs | None,
    console: Console,
) -> tuple[str, NGramWeights, Calibration | None] | None:
    """Return the n-gram of text and word list with its weights; None where there is neither, or it does not help."""
    if not words and not sentences:
        console.say("no word list and no text: the model decodes greedily")
        return None
    listed = sorted({word for line in words for word in line.split()})
    try:
        made = lm.estimated(model, sentences, listed, _ORDER, dev, console, NGramWeights(), heard)
    except BeamSearchUnavailable as error:
        console.warn(f"weights are not tuned: {error}")
        return lm.estimated(model, sentences, listed, _ORDER, None, console, NGramWeights(), heard)
    if made is None:
        console.warn("words do not lower the WER of held-out clips: the model decodes greedily")
    return made


def _advise(model: CTCModel, speech_s: float, out: Path, console: Console) -> None:
    """Say what to do next: from how much speech on training is the better use of time."""
    digraphs = (
        f" --text.alphabet '{json.dumps(model.text.alphabet, ensure_ascii=False)}'" if model.text.alphabet else ""
    )
    console.say(f"next: asr-adapt evaluate --model {out} --corpus CORPUS; the letters' phones are in {out / LETTERS}")
    console.say(
        f"to train from here: asr-adapt run RECIPE.py --model.base {out}{digraphs}. "
        + f"{_TRAIN if speech_s >= _SPEECH_FOR_TRAINING_S else _TRANSCRIBE} (docs/training.md)"
    )
