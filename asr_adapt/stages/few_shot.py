"""few-shot: a model of a language from its word list, and from none, one or a few transcribed clips.

Without clips the base model's phones become letters by a table (zero-shot; MMS Zero-shot, arXiv:2407.17852, does so
with romanised letters). With clips the rows of the head are corrected by ridge regressions (`training.closed_form`).
"""

import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr_adapt import audio
from asr_adapt.console import Console
from asr_adapt.corpora import checks
from asr_adapt.decoding import ctc
from asr_adapt.errors import InputError
from asr_adapt.model import forward, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Recipe
from asr_adapt.records import Utterance
from asr_adapt.scoring import error_rates
from asr_adapt.text import g2p, letters
from asr_adapt.text.alphabet import BLANK, DELIMITER, Alphabet
from asr_adapt.text.letters import Letter
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training import closed_form

FOLDS = 5
_SHOWN = 5  # of clips that cannot be used


@dataclass(frozen=True)
class Vocabulary:
    """What is known of a language in writing, normalised."""

    words: Sequence[str]
    """different words of a list; empty where there is none"""
    sentences: Sequence[str]
    """lines of text; empty where there is none"""

    @property
    def lines(self) -> list[str]:
        """Words and sentences."""
        return [*self.words, *self.sentences]

    def counts(self) -> Counter[str]:
        """Return the words with their counts: those of the text, else 1 each."""
        return Counter(word for line in self.lines for word in line.split())


@dataclass(frozen=True)
class Shots:
    """Transcribed clips that can be learned from."""

    utterances: Sequence[Utterance]
    waveforms: Sequence[np.ndarray]
    """float32 (num_samples,), 16 kHz"""
    texts: Sequence[str]
    """normalised transcripts"""

    @property
    def audio_s(self) -> float:
        """Seconds of speech."""
        return sum(map(len, self.waveforms)) / audio.SAMPLE_RATE_HZ


def letter_table(spec: Model, language: str, known: Vocabulary, source: str | None, console: Console) -> list[Letter]:
    """Return the phones of every letter that occurs, and print them with where they are from.

    Args:
        spec: The base model, whose phones they are.
        language: BCP-47 tag.
        known: Texts of the language.
        source: A file (`letters.read_table`), or one of `g2p.SOURCES`; None: guessed from the letters' shapes.
        console: Where to report.

    Raises:
        InputError: the base model writes no phones, or the table cannot be had.
    """
    units = head.phone_units(spec, language).keys() - {BLANK, DELIMITER}
    given: dict[str, str] | None = None
    name = (source or "").partition(":")[0]
    if source is not None:
        if name in g2p.SOURCES:
            given = g2p.transcribed(source, known.counts(), language)
        else:
            given = letters.read_table(Path(source))
    table = letters.table(
        known.lines, letters.units_of(known.lines), units, given, name if name in g2p.SOURCES else "given"
    )
    rows = [(one.unit, " ".join(one.phones) or "?", one.source) for one in table]
    console.table(f"letters as phones of '{spec.base}'", ("letter", "phones", "from"), rows)
    if unknown := [letters.described(one) for one in table if not one.phones]:
        console.warn(
            f"{len(unknown)} letters have no phone, and may be any until clips show them: {', '.join(unknown)}. "
            "Edit letters.tsv and give it as --letters"
        )
    return table


def zero_shot(spec: Model, language: str, recipe: Recipe, known: Vocabulary, table: Sequence[Letter]) -> CTCModel:
    """Return the base model with a head that writes the language's letters and digraphs.

    Raises:
        InputError: the base model cannot be loaded.
    """
    singles = letters.units_of(known.lines)
    pairs = [one.unit for one in table if one.unit not in singles]
    alphabet = Alphabet((BLANK, DELIMITER, *singles, *pairs))
    counts = Counter(unit for line in known.lines for unit in alphabet.split(line))
    # Digraphs are extra units, so that `run --text.alphabet` and the model's own texts are split as they are here.
    text = recipe.text.model_copy(update={"alphabet": tuple(dict.fromkeys((*recipe.text.alphabet, *pairs)))})
    phones = {one.unit: one.phones for one in table}
    return head.from_phones(spec, alphabet, phones, counts, language, text)


def draw(utterances: Sequence[Utterance], seed: int) -> list[Utterance]:
    """Return the train split with a transcript in random order: more shots contain fewer."""
    pool = sorted((u for u in utterances if u.split == "train" and (u.text or "").strip()), key=lambda u: u.id)
    random.Random(seed).shuffle(pool)
    return pool


def shots(pool: Sequence[Utterance], count: int, model: CTCModel, recipe: Recipe, console: Console) -> Shots:
    """Return the first `count` clips of a pool that can be learned from; the others are counted and named.

    Raises:
        InputError: the pool has fewer.
    """
    trainability = checks.Trainability(
        model.alphabet, model.grid, recipe.corpus.min_duration_s, recipe.corpus.max_duration_s
    )
    normalise = model.normaliser
    clear, unusable = checks.understood(pool, normalise)
    found: list[checks.Checked] = []
    refused = [f"{exclusion.id} ({exclusion.detail})" for exclusion in unusable]
    with tempfile.TemporaryDirectory() as scratch, console.progress("clips", total=count) as bar:
        texts = (normalise(u.text or "") for u in clear)
        one_by_one: Iterator[checks.Checked] = checks.decode_and_check(
            clear, texts, trainability, Path(scratch), min(count, os.cpu_count() or 1), lambda checked: checked
        )
        for checked in one_by_one:
            if checked.problem:
                refused.append(f"{checked.utterance.id} ({checked.problem[1]})")
                continue
            found.append(checked)
            bar.at(len(found))
            if len(found) == count:
                break
    if refused:
        console.warn(f"{len(refused)} clips cannot be learned from and are replaced by others: "
                     + "; ".join(refused[:_SHOWN]) + (" …" if len(refused) > _SHOWN else ""))  # fmt: skip
    if len(found) < count:
        raise InputError(
            f"{count} clips are wanted, and {len(found)} of {len(pool)} in train can be learned from",
            place="--shots",
            remedy=f"Give --shots {len(found)}." if found else "See asr-adapt doctor CORPUS.",
        )
    waveforms = [checked.waveform for checked in found if checked.waveform is not None]
    return Shots([checked.utterance for checked in found], waveforms, [checked.text for checked in found])


def frames(model: CTCModel, clips: Shots, console: Console) -> list[torch.Tensor]:
    """Return the transformer's output of each clip: float32 (frames, hidden)."""
    with torch.inference_mode(), console.progress("run the base model", total=len(clips.waveforms)) as bar:
        encoded = [forward.encode(model, [torch.from_numpy(np.array(clip))]) for clip in clips.waveforms]
        return [forward.contextualise(model.net, one)[0].clone() for one in bar.over(encoded)]


def corrected(model: CTCModel, features: Sequence[torch.Tensor], texts: Sequence[str]) -> torch.nn.Linear:
    """Return the model's head, corrected by clips; the model stays as it is."""
    return closed_form.corrected(model.net.lm_head, features, [model.alphabet.encode(text) for text in texts])


def held_out(
    model: CTCModel, features: Sequence[torch.Tensor], texts: Sequence[str], console: Console
) -> list[np.ndarray]:
    """Return each clip's log-probs, float32 (frames, vocab), by a head that was corrected without it.

    Args:
        model: With the head before its correction.
        features: Of `frames`.
        texts: Their transcripts, at least two different ones; clips with the same one are held out together.
        console: Where to report.
    """
    fold_of = {text: number % FOLDS for number, text in enumerate(dict.fromkeys(texts))}
    outputs: list[np.ndarray] = [np.zeros((0, 0), np.float32)] * len(texts)
    with console.progress("cross-validate", total=len(set(fold_of.values()))) as bar:
        for fold in bar.over(sorted(set(fold_of.values()))):
            kept = [i for i, text in enumerate(texts) if fold_of[text] != fold]
            better = corrected(model, [features[i] for i in kept], [texts[i] for i in kept])
            for i in set(range(len(texts))) - set(kept):
                with torch.inference_mode():
                    outputs[i] = torch.log_softmax(better(features[i]), dim=-1).numpy()
    return outputs


def rates(model: CTCModel, log_probs: Sequence[np.ndarray], texts: Sequence[str]) -> tuple[float, float]:
    """Return WER and CER of log-probs that are decoded greedily."""
    written = [model.alphabet.decode(run.label for run in ctc.greedy(scores)) for scores in log_probs]
    return error_rates.rates(list(zip(texts, written, strict=True)))


def normalised(lines: Sequence[str], normalise: Normaliser) -> list[str]:
    """Return lines normalised, without those that are empty then."""
    return [text for line in lines if (text := normalise(line))]
