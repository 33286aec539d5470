"""rank: which of several base models is nearest to a corpus, before any is fine-tuned.

For each base, a small CTC probe (`training.probe`) is trained on frozen features of several layers, on minutes of the
corpus, and scored on dev. The same is done with the base's architecture and random weights: a base that is no better
than that has nothing to transfer.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from transformers import Wav2Vec2ForCTC

from asr_adapt import audio, corpora
from asr_adapt.artifacts import Artifact
from asr_adapt.console import Console
from asr_adapt.corpora import trained_on
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding import ctc
from asr_adapt.errors import AudioError, InputError
from asr_adapt.model import base, forward, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Recipe, fingerprint
from asr_adapt.records import Utterance, describe_duration
from asr_adapt.scoring import comparison, error_rates, transferability
from asr_adapt.storage import content_digests, make_folder
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training import layer_probes, memory, presets, probe
from asr_adapt.training.ctc_loss import ctc_loss
from asr_adapt.training.layer_probes import LayerProbes

RANDOM = "random weights"
_LAYERS = 3  # of a base, evenly; the best of them has a probe for each seed, the others one
_LOGME_FRAMES = 8_000
_TIMED_S = 10.0
_ARCHITECTURE = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "conv_dim",
    "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation",
    "do_stable_layer_norm", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups",
)  # fmt: skip


class Layer(BaseModel):
    """A layer's features."""

    model_config = ConfigDict(frozen=True)

    layer: int
    """0: the transformer's input"""
    cer: float
    """of the probe on dev"""
    logme: float


class Base(Artifact):
    """What was measured of one base model; a file of its own in the output folder."""

    inputs: str
    """fingerprint of all that decides it"""
    name: str
    layers: tuple[Layer, ...]
    best_layer: int
    cer: float
    """of the probes of the best layer, on dev"""
    cer_ci95: tuple[float, float]
    errors: tuple[int, ...]
    """character errors of each dev utterance, those of all probes together"""
    has_learned: bool
    """whether each of these probes has learned something about the sound"""
    known_letters: float
    """share of the alphabet with which a new head starts"""
    training_s_per_hour: float
    """seconds of training here for an hour of speech, once through"""
    memory_gb: float
    """of training, with the batches of the recipe or of its preset; worked out anew each time"""


class Ranked(BaseModel):
    """A base model in the ranking."""

    model_config = ConfigDict(frozen=True)

    name: str
    cer: float
    cer_ci95: tuple[float, float]
    best_layer: int
    against_random: tuple[float, float, float]
    """CER minus that of random weights in the same architecture, with the paired 95 % interval"""
    against_best: tuple[float, float, float]
    is_far: bool
    """whether it is no better than random weights"""
    known_letters: float
    logme: float
    training_s_per_hour: float
    memory_gb: float
    layers: tuple[Layer, ...]


class Ranking(Artifact):
    """`rank.json`: the nearest base first."""

    language: str
    train_minutes: float
    dev_minutes: float
    dev_utterances: int
    unreadable: int
    """clips of the sample that could not be decoded"""
    trained_on: int = 0
    """clips of dev that are left out of the sample because a base was trained on them"""
    bases: tuple[Ranked, ...]
    recommendation: str


@dataclass(frozen=True)
class Sample:
    """Decoded clips of a corpus."""

    train: SpeechSplit
    dev: SpeechSplit
    alphabet: Alphabet
    unreadable: int
    trained_on: int
    hours: float
    """of speech in all of train, as far as it is known without decoding; by which presets are chosen"""
    key: str
    """fingerprint"""


def rank(
    recipe: Recipe, bases: Sequence[str], out: Path, console: Console, *, minutes: float = layer_probes.MINUTES
) -> Ranking:
    """Rank base models for a recipe's corpus; print and write the ranking. Run again, it resumes.

    Args:
        recipe: The recipe; its `model.base` is not used.
        bases: As in `model.base`.
        out: Folder of rank.json and of a file for each base.
        console: Where to report.
        minutes: Of training speech in the sample; half as much of dev is scored.

    Raises:
        InputError: a base model or the corpus cannot be used, or fewer than two bases are named.
    """
    if len(set(bases)) < 2:
        raise InputError("a ranking needs two base models", place="--base", remedy="Give --base more than once.")
    specs = {name: recipe.model.model_copy(update={"base": name, "adapter": "none"}) for name in dict.fromkeys(bases)}
    if "none" in specs:
        raise InputError(
            "random weights are always a part of the ranking", place="--base none", remedy="Leave it out."
        )
    for spec in specs.values():  # all are there, before any is measured
        base.resolve(spec, recipe.language)
    heard = _heard(specs, console)
    make_folder(out, "Give another --out.")
    sample = _sample(recipe, minutes, heard, console)
    measured: list[tuple[Base, Base]] = []
    for name, spec in specs.items():
        resolved = base.resolve(spec, recipe.language)
        measured.append((
            _measured(recipe, spec, resolved, sample, out, console, name),
            _measured(recipe, spec, resolved, sample, out, console, None),
        ))  # fmt: skip
    ranking = _ranking(recipe, sample, measured)
    ranking.write_file(out / "rank.json")
    _show(ranking, console)
    return ranking


def _heard(specs: Mapping[str, Model], console: Console) -> TrainedOn:
    """Return what any of the bases was trained on; say of which it is unknown."""
    heard = TrainedOn.nothing()
    for name, spec in specs.items():
        of_base = trained_on.of_base(base.folder(spec), name)
        if of_base.unknown:
            console.say(f"what {name} was trained on is not known in full: it may have heard clips of dev")
        heard += TrainedOn(of_base.rows)
    return heard


def _sample(recipe: Recipe, minutes: float, heard: TrainedOn, console: Console) -> Sample:
    """Decode random clips of train and dev; the same ones each time.

    Clips of dev that any base was trained on are left out for all.
    """
    reading = corpora.read_all(corpora.sources(recipe), recipe.language)
    normalise = Normaliser(recipe.text, recipe.language)
    clear = [u for u in reading.utterances if normalise.unclear(u.text or "") is None and normalise(u.text or "")]
    unreadable = 0
    splits = {}
    for split, wanted_s in (("train", 60 * minutes), ("dev", 60 * minutes * layer_probes.DEV_SHARE)):
        members = [u for u in clear if u.split == split]
        chosen: list[Utterance] = []
        waveforms: list[np.ndarray] = []
        samples = 0
        with console.progress(f"read {split}", total=round(wanted_s)) as progress:
            for index in np.random.default_rng(0).permutation(len(members)):
                if samples >= wanted_s * audio.SAMPLE_RATE_HZ and len(chosen) >= layer_probes.LEAST_CLIPS:
                    break
                utterance = members[index]
                try:
                    waveform = audio.load(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s)
                except AudioError:
                    unreadable += 1
                    continue
                seconds = len(waveform) / audio.SAMPLE_RATE_HZ
                if not recipe.corpus.min_duration_s <= seconds <= recipe.corpus.max_duration_s:
                    continue
                chosen.append(utterance.model_copy(update={"duration_s": seconds}))
                waveforms.append(waveform)
                samples += len(waveform)
                progress.at(min(samples // audio.SAMPLE_RATE_HZ, round(wanted_s)))
        if len(chosen) < layer_probes.LEAST_CLIPS:
            raise InputError(
                f"{split} has {len(chosen)} clips that can be used; a ranking needs {layer_probes.LEAST_CLIPS}",
                place=recipe.corpus.root,
                remedy="Transcribe more speech.",
            )
        texts = [normalise(u.text or "") for u in chosen]
        splits[split] = SpeechSplit(split, chosen, texts, waveforms.__getitem__)
    if unreadable:
        console.warn(f"{unreadable} clips of the sample cannot be decoded; `asr-adapt doctor` names them")
    splits["dev"], found = trained_on.check(
        splits["dev"], heard, "the base models", console, allow=recipe.corpus.allow_trained
    )
    if (new := len(splits["dev"])) < layer_probes.LEAST_CLIPS:
        raise InputError(
            f"{new} clips of dev in the sample are new to all the bases; a ranking needs {layer_probes.LEAST_CLIPS}",
            place=recipe.corpus.root,
            remedy="Give more --minutes, or leave out the base that was trained on this speech.",
        )
    alphabet = Alphabet.from_texts(splits["train"].references, recipe.text)
    digests = content_digests({u.audio for split in splits.values() for u in split.utterances})
    key = fingerprint(
        recipe.language,
        recipe.text,
        sorted(digests.items(), key=str),
        [split.references for split in splits.values()],
        [layer_probes.STEPS, layer_probes.SEEDS, _LAYERS],
    )
    known = [u.duration_s for u in clear if u.split == "train" and u.duration_s]
    hours = sum(known) / 3600 or minutes / 60
    return Sample(splits["train"], splits["dev"], alphabet, unreadable, len(found.left_out), hours, key)


def _measured(
    recipe: Recipe,
    spec: Model,
    resolved: base.ResolvedBase,
    sample: Sample,
    out: Path,
    console: Console,
    name: str | None,
) -> Base:
    """Return what is measured of a base; of random weights in its architecture where `name` is None."""
    architecture = {field: getattr(resolved.config, field) for field in _ARCHITECTURE}
    what = name or f"{RANDOM}, {fingerprint(architecture)[:8]}"
    machine = [torch.get_num_threads(), os.cpu_count(), torch.backends.cpu.get_cpu_capability()]  # of the times
    inputs = fingerprint(sample.key, architecture, _weights(spec) if name else RANDOM, machine)
    full = recipe.model_copy(update={"model": spec, "train": recipe.train.model_copy(update={"precision": "fp32"})})
    settings, _ = presets.resolve(full, sample.hours, resolved.config.hidden_size)
    memory_gb = memory.needed_bytes(settings, resolved.config, settings.train.batch_s) / 1e9
    path = out / f"{hashlib.sha256(what.encode()).hexdigest()[:12]}.json"
    if path.exists():
        kept = Base.read_file(path, "Delete it and run again.")
        if kept.inputs == inputs:
            console.say(f"{what}: already measured")
            return kept.model_copy(update={"memory_gb": memory_gb})
    model = head.create(spec, sample.alphabet, recipe.language, recipe.text, 0, resolved)
    if name is None:
        torch.manual_seed(0)
        net = Wav2Vec2ForCTC(model.net.config)
        model = CTCModel(net, model.alphabet, model.language, model.text, model.normalise_waveform)
    found = _measure(model, sample, what, console)
    known = head.inherited(spec, sample.alphabet, recipe.language, resolved) if name else {}
    kept = found.model_copy(
        update={
            "inputs": inputs,
            "known_letters": len(known) / len(sample.alphabet),
            "memory_gb": memory_gb,
        }
    )
    kept.write_file(path)
    return kept


def _weights(spec: Model) -> object:
    """Return what tells the weights of a base: the digests of a folder's, else its name and revision."""
    folder = base.folder(spec)
    if folder is None:
        return [spec.base, spec.revision]
    files = sorted(str(path) for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    return sorted(digest or "" for digest in content_digests(files).values())


def _measure(model: CTCModel, sample: Sample, what: str, console: Console) -> Base:
    """Train probes on a model's layers, and score them."""
    depth = model.net.config.num_hidden_layers
    layers = sorted({round(depth * part / _LAYERS) for part in range(1, _LAYERS + 1)})
    probes = LayerProbes(model, sample.train, sample.dev, layers, what, console)
    first, *others = layer_probes.SEEDS
    total = layer_probes.STEPS * (len(layers) + len(others))
    with console.progress(f"{what}: probes", total=total) as progress:
        done = 0

        def trained(layer: int, seed: int) -> probe.Probe:
            nonlocal done
            found = probes.fitted(layer, seed, lambda step: progress.at(done + step, f"layer {layer}"))
            done += layer_probes.STEPS
            return found

        written: dict[int, list[list[str]]] = {}
        found: list[Layer] = []
        for layer in layers:
            fitted = trained(layer, first)
            written[layer] = [probes.texts(layer, fitted)]
            evidence = transferability.logme(*_labelled(fitted, probes.train[layer], probes.labels))
            cer = error_rates.rate(probes.errors(written[layer][0]))
            found.append(Layer(layer=layer, cer=cer, logme=evidence))
        best = min(found, key=lambda one: one.cer).layer
        written[best] += [probes.texts(best, trained(best, seed)) for seed in others]
    pooled = [error_rates.pool(same) for same in zip(*map(probes.errors, written[best]), strict=True)]
    return Base(
        inputs="",
        name=what,
        layers=tuple(found),
        best_layer=best,
        cer=error_rates.rate(pooled),
        cer_ci95=error_rates.rate_interval(pooled),
        errors=tuple(one.total for one in pooled),
        has_learned=all(map(probes.has_learned, written[best])),
        known_letters=0.0,
        training_s_per_hour=_training_s(model, probes.labels),
        memory_gb=0.0,
    )


def _labelled(
    fitted: probe.Probe, features: Sequence[np.ndarray], labels: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and the letters that the probe aligns with them, without blanks; at most 8,000."""
    frames: list[np.ndarray] = []
    letters: list[int] = []
    for clip, ids in zip(features, labels, strict=True):
        if len(letters) >= _LOGME_FRAMES or ctc.frames_needed(ids) > len(clip):
            continue
        for run in ctc.align(fitted.log_probs(clip), ids):
            frames.append(clip[(run.start + run.end - 1) // 2])
            letters.append(run.label)
    return np.stack(frames), np.array(letters)


def _training_s(model: CTCModel, labels: Sequence[Sequence[int]]) -> float:
    """Return the seconds that forward and backward passes over an hour of speech take here."""
    clip = 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal(int(_TIMED_S * audio.SAMPLE_RATE_HZ)))
    for parameter in model.net.wav2vec2.feature_extractor.parameters():
        parameter.requires_grad = False
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        hidden = forward.contextualise(model.net, forward.encode(model, [clip.float()]))
        logits = model.net.lm_head(hidden)
        written = list(labels[0][: hidden.shape[1] // 2])
        ctc_loss(logits, [hidden.shape[1]], [written]).sum().backward()
        seconds.append(time.perf_counter() - start)
    model.net.zero_grad(set_to_none=True)
    return min(seconds) / _TIMED_S * 3600


def _ranking(recipe: Recipe, sample: Sample, measured: Sequence[tuple[Base, Base]]) -> Ranking:
    best = min((one for one, _ in measured), key=lambda one: one.cer)
    lengths = [len(layer_probes.SEEDS) * error_rates.character_errors(text, text).reference_length
               for text in sample.dev.references]  # fmt: skip

    def difference(one: Base, other: Base) -> tuple[float, float, float]:
        found = comparison.paired_difference(one.errors, other.errors, lengths, range(len(lengths)))
        return found.value, found.low, found.high

    ranked = []
    for one, random in sorted(measured, key=lambda pair: pair[0].cer):
        against = difference(one, random)
        ranked.append(
            Ranked(
                name=one.name,
                cer=one.cer,
                cer_ci95=one.cer_ci95,
                best_layer=one.best_layer,
                against_random=against,
                against_best=difference(one, best),
                is_far=against[2] >= 0,
                known_letters=one.known_letters,
                logme=next(layer.logme for layer in one.layers if layer.layer == one.best_layer),
                training_s_per_hour=one.training_s_per_hour,
                memory_gb=one.memory_gb,
                layers=one.layers,
            )
        )
    train, dev = (sum(u.duration_s or 0.0 for u in split.utterances) / 60 for split in (sample.train, sample.dev))
    return Ranking(
        language=recipe.language,
        train_minutes=train,
        dev_minutes=dev,
        dev_utterances=len(sample.dev),
        unreadable=sample.unreadable,
        trained_on=sample.trained_on,
        bases=tuple(ranked),
        recommendation=recommendation(ranked, train, best.has_learned),
    )


def recommendation(ranked: Sequence[Ranked], minutes: float, has_learned: bool) -> str:
    """Return in words which base to take.

    Args:
        ranked: The nearest first.
        minutes: Of training speech in the sample.
        has_learned: Whether the best probe's text fits its own clips better than others.
    """
    best = ranked[0]
    if not has_learned:
        return (
            f"Nothing is learned from {describe_duration(60 * minutes)} of this speech with any base: what the "
            "probes write fits its own clips no better than others of their length. Check that transcripts belong to "
            "their recordings (asr-adapt doctor) before choosing a base."
        )
    if best.is_far:
        return (
            "No base is better than random weights on this speech: all are far, and negative transfer is likely. "
            "Train from scratch (--model.base none), or look for another base."
        )
    equal = [one.name for one in ranked[1:] if one.against_best[1] <= 0]
    text = f"{best.name} is nearest."
    if equal:
        cheapest = min(
            (one for one in ranked if one is best or one.name in equal), key=lambda o: o.training_s_per_hour
        )
        text = f"{best.name} is nearest, but the sample cannot tell it from {' and '.join(equal)}."
        if cheapest.training_s_per_hour < 0.8 * best.training_s_per_hour:
            text += f" {cheapest.name} trains fastest of these."
    far = [one.name for one in ranked if one.is_far]
    if far:
        text += f" {' and '.join(far)}: no better than random weights; negative transfer is likely."
    return text


def _show(ranking: Ranking, console: Console) -> None:
    console.table(
        f"{ranking.language}: probes on {ranking.train_minutes:.1f} minutes, scored on {ranking.dev_minutes:.1f} "
        f"minutes of dev ({ranking.dev_utterances} utterances); 95 % intervals, those of differences paired; letters "
        "that the head knows; seconds of training for an hour of speech, and memory",
        ("base", "probe CER", "against the best", "against random weights", "layer", "letters", "s per h", "GB", ""),
        [
            (
                one.name,
                "{:.3f} ({:.3f} to {:.3f})".format(one.cer, *one.cer_ci95),
                "" if one is ranking.bases[0] else "{:+.3f} ({:+.3f} to {:+.3f})".format(*one.against_best),
                "{:+.3f} ({:+.3f} to {:+.3f})".format(*one.against_random),
                f"{one.best_layer}",
                f"{one.known_letters:.0%}",
                f"{one.training_s_per_hour:.0f}",
                f"{one.memory_gb:.1f}",
                "far" if one.is_far else "",
            )
            for one in ranking.bases
        ],
        is_result=True,
    )  # fmt: skip
    console.result(ranking.recommendation)
