"""rank: which of several base models is nearest to a corpus, before any is fine-tuned.

For each base, a small CTC probe (`training.probe`) is trained on frozen features of several layers, on minutes of the
corpus, and scored on dev. The same is done with the base's architecture and random weights: a base that is no better
than that has nothing to transfer.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr_adapt import audio, corpora
from asr_adapt.artifacts import BaseScores, LayerScores, RankedBase, Ranking
from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora import trained_on
from asr_adapt.corpora.elsewhere import content_digests
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding import ctc
from asr_adapt.errors import AudioError, InputError
from asr_adapt.model import base, card, encoders, forward, freezing, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model, Recipe, fingerprint
from asr_adapt.records import Utterance, describe_duration
from asr_adapt.scoring import comparison, error_rates, relatedness, transferability
from asr_adapt.storage import make_folder
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.training import layer_probes, memory, presets, probe
from asr_adapt.training.ctc_loss import ctc_loss
from asr_adapt.training.layer_probes import LayerProbes

RANDOM = "random weights"
_LAYERS = 3  # of a base, evenly; the best of them has a probe for each seed, the others one
_LOGME_FRAMES = 8_000
_COMPARED_FRAMES = 10_000
_OWN_S, _LEAST_OWN_S = 15.0, 0.1  # of each recording of a base's own speech
_TOKEN_CLIPS = 150  # of the corpus, whose acoustic tokens are compared
_TIMED_S = 10.0
_DRAWS = 1_000


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
    recipe: Recipe,
    bases: Sequence[str],
    out: Path,
    console: Console,
    *,
    minutes: float = layer_probes.MINUTES,
    samples: Mapping[str, Path] | None = None,
) -> Ranking:
    """Rank base models for a recipe's corpus; print and write the ranking. Run again, it resumes.

    Args:
        recipe: The recipe; its `model.base` is not used.
        bases: As in `model.base`.
        out: Folder of rank.json and of a file for each base.
        console: Where to report.
        minutes: Of training speech in the sample; half as much of dev is scored.
        samples: Of some of the bases, a folder of recordings in the languages that it was trained on.

    Raises:
        InputError: a base model, a sample or the corpus cannot be used, or fewer than two bases are named.
    """
    specs = checked(recipe, bases)
    for name in set(samples or ()) - set(specs):
        raise InputError(f"'{name}' is not ranked", place="--sample", remedy=f"Give --base {name}, too.")
    own = {name: _own_speech(folder, 60 * minutes * layer_probes.DEV_SHARE, console)
           for name, folder in (samples or {}).items()}  # fmt: skip
    heard = _heard(specs, console)
    make_folder(out, "Give another --out.")
    sample = _sample(recipe, minutes, heard, console)
    measured: list[tuple[BaseScores, BaseScores]] = []
    for name, spec in specs.items():
        resolved = base.resolve(spec, recipe.language)
        measured.append((
            _measured(recipe, spec, resolved, sample, out, console, name, own.get(name)),
            _measured(recipe, spec, resolved, sample, out, console, None, None),
        ))  # fmt: skip
    relatives = _relatives(recipe.language, specs, console)
    hints = {scores.name: (scores.similarity, relatives.get(scores.name)) for scores, _ in measured}
    ranking = _ranking(recipe, sample, measured, hints)
    ranking.write_file(out / "rank.json")
    _show(ranking, console)
    return ranking


def _own_speech(folder: Path, seconds: float, console: Console) -> SpeechSplit:
    """Return the beginnings of random recordings of a folder; the same ones each time.

    Raises:
        InputError: there are none, or too few can be decoded.
    """
    found = augment.recordings(folder, "--sample")
    chosen: list[Utterance] = []
    waveforms: list[np.ndarray] = []
    unreadable = samples = 0
    with console.progress(f"read {folder.name}", total=round(seconds)) as progress:
        for index in np.random.default_rng(0).permutation(len(found)):
            if samples >= seconds * audio.SAMPLE_RATE_HZ and len(chosen) >= layer_probes.LEAST_CLIPS:
                break
            try:
                waveform = audio.load(found[index], end_s=_OWN_S)
            except AudioError:
                unreadable += 1
                continue
            length_s = len(waveform) / audio.SAMPLE_RATE_HZ
            if length_s < _LEAST_OWN_S:
                continue
            chosen.append(
                Utterance(id=found[index].name, audio=str(found[index]), language="und", duration_s=length_s)
            )
            waveforms.append(waveform)
            samples += len(waveform)
            progress.at(min(samples // audio.SAMPLE_RATE_HZ, round(seconds)))
    if unreadable:
        console.warn(f"{unreadable} recordings of {folder} cannot be decoded")
    if len(chosen) < layer_probes.LEAST_CLIPS:
        raise InputError(
            f"'{folder}' has {len(chosen)} recordings that can be used; {layer_probes.LEAST_CLIPS} are needed",
            place="--sample",
            remedy="Give a folder with more.",
        )
    return SpeechSplit("own speech", chosen, [""] * len(chosen), waveforms.__getitem__)


def _relatives(language: str, specs: Mapping[str, Model], console: Console) -> dict[str, tuple[str, float]]:
    """Return which of each base's languages is nearest to the corpus's, as far as that is known."""
    spoken = {name: tags for name, spec in specs.items() if (tags := card.languages(spec))}
    if spoken and (problem := relatedness.problem()):
        console.say(f"languages are not compared: {problem}")
        return {}
    near = {name: relatedness.nearest(language, tags) for name, tags in spoken.items()}
    return {name: found for name, found in near.items() if found}


def _similarity(recipe: Recipe, sample: Sample, own: SpeechSplit, console: Console) -> float:
    """Return the acoustic token distribution similarity of the corpus to a base's own speech.

    The tokens are those of one model for all, the small embedded one: similarities by tokens of different models
    do not compare.
    """
    spec = Model(base="embedded-small")
    model = head.create(spec, sample.alphabet, recipe.language, recipe.text, 0)
    model.net.eval()
    layers = [model.net.config.num_hidden_layers // 2]

    def of(split: SpeechSplit) -> list[np.ndarray]:
        return layer_probes.features(model, split, layers, f"acoustic tokens: {split.name}", console)[layers[0]]

    tokens = transferability.acoustic_tokens(of(sample.train.evenly(_TOKEN_CLIPS)), of(own))
    return transferability.token_similarity(*tokens)


def checked(recipe: Recipe, bases: Sequence[str]) -> dict[str, Model]:
    """Return the settings of each base, all of which can be used.

    Raises:
        InputError: a base model cannot be used, or fewer than two are named.
    """
    if len(set(bases)) < 2:
        raise InputError("a ranking needs two base models", place="--base", remedy="Give --base more than once.")
    specs = {name: recipe.model.model_copy(update={"base": name, "adapter": "none"}) for name in dict.fromkeys(bases)}
    if "none" in specs:
        raise InputError(
            "random weights are always a part of the ranking", place="--base none", remedy="Leave it out."
        )
    for spec in specs.values():
        base.resolve(spec, recipe.language)
    return specs


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
    own: SpeechSplit | None,
) -> BaseScores:
    """Return what is measured of a base, `own` being speech in its own languages.

    Of random weights in its architecture where `name` is None.
    """
    architecture = encoders.architecture(resolved.config)
    what = name or f"{RANDOM}, {fingerprint(architecture)[:8]}"
    machine = [torch.get_num_threads(), os.cpu_count(), torch.backends.cpu.get_cpu_capability()]  # of the times
    compared = ["similarity", sorted(content_digests({u.audio for u in own.utterances}).items())] if own else []
    inputs = fingerprint(sample.key, architecture, _weights(spec) if name else RANDOM, machine, *compared)
    full = recipe.model_copy(update={"model": spec, "train": recipe.train.model_copy(update={"precision": "fp32"})})
    settings, _ = presets.resolve(full, sample.hours, resolved.config.hidden_size)
    memory_gb = memory.needed_bytes(settings, resolved.config, settings.train.batch_s) / 1e9
    path = out / f"{hashlib.sha256(what.encode()).hexdigest()[:12]}.json"
    if path.exists():
        kept = BaseScores.read_file(path, "Delete it and run again.")
        if kept.inputs == inputs:
            console.say(f"{what}: already measured")
            return kept.model_copy(update={"memory_gb": memory_gb})
    model = head.create(spec, sample.alphabet, recipe.language, recipe.text, 0, resolved)
    if name is None:
        torch.manual_seed(0)
        net = encoders.build(model.net.config)
        model = CTCModel(net, model.alphabet, model.language, model.text, model.normalise_waveform)
    found = _measure(model, sample, what, own, console)
    known = head.inherited(spec, sample.alphabet, recipe.language, resolved) if name else {}
    kept = found.model_copy(
        update={
            "inputs": inputs,
            "known_letters": len(known) / len(sample.alphabet),
            "memory_gb": memory_gb,
            # Kept, since it differs a little each time.
            "similarity": _similarity(recipe, sample, own, console) if own else None,
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


def _measure(model: CTCModel, sample: Sample, what: str, own: SpeechSplit | None, console: Console) -> BaseScores:
    """Train probes on a model's layers, and score them; compare these layers on speech of its own languages."""
    depth = model.net.config.num_hidden_layers
    layers = sorted({round(depth * part / _LAYERS) for part in range(1, _LAYERS + 1)})
    probes = LayerProbes(model, sample.train, sample.dev, layers, what, console)
    own_features = layer_probes.features(model, own, layers, f"{what}: {own.name}", console) if own else {}
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
        found: list[LayerScores] = []
        for layer in layers:
            fitted = trained(layer, first)
            written[layer] = [probes.texts(layer, fitted)]
            evidence = transferability.logme(*_labelled(fitted, probes.train[layer], probes.labels))
            cer = error_rates.rate(probes.errors(written[layer][0]))
            distance = None
            if own is not None:
                ours, theirs = _frames(probes.train[layer]), _frames(own_features[layer])
                distance = transferability.sliced_wasserstein(ours, theirs)
            found.append(LayerScores(layer=layer, cer=cer, logme=evidence, distance=distance))
        best = min(found, key=lambda one: one.cer).layer
        written[best] += [probes.texts(best, trained(best, seed)) for seed in others]
    pooled = [error_rates.pool(same) for same in zip(*map(probes.errors, written[best]), strict=True)]
    return BaseScores(
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


def _frames(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Return at most so many frames of all clips, evenly: float16 (frames, dimensions)."""
    frames = np.concatenate(clips)
    return frames[:: max(1, len(frames) // _COMPARED_FRAMES)]


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
    freezing.freeze(model.net, "feature_encoder")
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


def _ranking(
    recipe: Recipe,
    sample: Sample,
    measured: Sequence[tuple[BaseScores, BaseScores]],
    hints: Mapping[str, tuple[float | None, tuple[str, float] | None]],
) -> Ranking:
    best = min((one for one, _ in measured), key=lambda one: one.cer)
    lengths = [len(layer_probes.SEEDS) * error_rates.character_errors(text, text).reference_length
               for text in sample.dev.references]  # fmt: skip

    def difference(one: BaseScores, other: BaseScores) -> tuple[float, float, float]:
        found = comparison.paired_difference(one.errors, other.errors, lengths, range(len(lengths)))
        return found.value, found.low, found.high

    nearest = _nearest([one for one, _ in measured])
    ranked = []
    for one, random in sorted(measured, key=lambda pair: pair[0].cer):
        against = difference(one, random)
        ranked.append(
            RankedBase(
                name=one.name,
                cer=one.cer,
                cer_ci95=one.cer_ci95,
                best_layer=one.best_layer,
                against_random=against,
                against_best=difference(one, best),
                is_far=against[2] >= 0,
                is_nearest=nearest[one.name],
                known_letters=one.known_letters,
                logme=next(layer.logme for layer in one.layers if layer.layer == one.best_layer),
                training_s_per_hour=one.training_s_per_hour,
                memory_gb=one.memory_gb,
                layers=one.layers,
                similarity=hints[one.name][0],
                relative=hints[one.name][1],
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
        has_learned=best.has_learned,
        recommendation=recommendation(ranked, train, best.has_learned),
    )


def _nearest(measured: Sequence[BaseScores]) -> dict[str, float]:
    """Return the share of bootstrap draws of dev utterances in which each base's probes make the fewest errors."""
    errors = np.array([one.errors for one in measured])  # (bases, utterances)
    chosen = np.random.default_rng(0).integers(errors.shape[1], size=(_DRAWS, errors.shape[1]))
    drawn = np.stack([row[chosen].sum(axis=1) for row in errors])  # (bases, draws)
    is_best = drawn == drawn.min(axis=0)
    shares = (is_best / is_best.sum(axis=0)).mean(axis=1)  # a tie counts for all that are in it
    return {one.name: float(share) for one, share in zip(measured, shares, strict=True)}


def recommendation(ranked: Sequence[RankedBase], minutes: float, has_learned: bool) -> str:
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


def _hints(one: RankedBase) -> Iterator[str]:
    """Yield what else is known of a base."""
    if one.is_far:
        yield "far"
    for layer in one.layers:
        if layer.layer == one.best_layer and layer.distance is not None:
            yield f"distance to its own speech {layer.distance:.2f}"
    if one.similarity is not None:
        yield f"tokens {one.similarity:.2f}"
    if one.relative is not None:
        yield "nearest language {}, {:.2f}".format(*one.relative)


def _show(ranking: Ranking, console: Console) -> None:
    console.table(
        f"{ranking.language}: probes on {ranking.train_minutes:.1f} minutes, scored on {ranking.dev_minutes:.1f} "
        f"minutes of dev ({ranking.dev_utterances} utterances); 95 % intervals, those of differences paired; the "
        "probability of being the nearest, over draws of utterances; letters "
        "that the head knows; seconds of training for an hour of speech, and memory",
        ("base", "probe CER", "nearest", "against the best", "against random weights", "layer", "letters", "s per h",
         "GB", ""),
        [
            (
                one.name,
                "{:.3f} ({:.3f} to {:.3f})".format(one.cer, *one.cer_ci95),
                f"{one.is_nearest:.0%}",
                "" if one is ranking.bases[0] else "{:+.3f} ({:+.3f} to {:+.3f})".format(*one.against_best),
                "{:+.3f} ({:+.3f} to {:+.3f})".format(*one.against_random),
                f"{one.best_layer}",
                f"{one.known_letters:.0%}",
                f"{one.training_s_per_hour:.0f}",
                f"{one.memory_gb:.1f}",
                ", ".join(_hints(one)),
            )
            for one in ranking.bases
        ],
        is_result=True,
    )  # fmt: skip
    console.result(ranking.recommendation)
