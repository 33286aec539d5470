"""Distil a teacher's hidden states into a small model while it learns to write phones.

Two losses on the student's last hidden states. CTC on the labels, where a clip has any; and, as in DistilHuBERT
(Chang et al. 2021, arXiv:2110.01900), linear heads that predict layers of the teacher (`targets.py`): for each frame
and layer the smooth L1 distance, a mean over dimensions, minus the log-sigmoid of the cosine. The student hears most
clips degraded by `noise.degrade`, at another speed too, while the targets are those of the clean clip at the same
places of the speech.

The heads are a part of the network while it is trained, so that checkpoints hold them, and are gone from what is
saved. Clips are read and degraded by a process of their own, some steps ahead.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noise
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from targets import LAYERS, Targets, load

from asr_adapt.audio import SAMPLE_RATE_HZ, augment
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.model import forward
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.encoders import Net
from asr_adapt.recipe import Resolved, ResolvedTrain
from asr_adapt.records import Utterance
from asr_adapt.stages import train
from asr_adapt.training import schedule
from asr_adapt.training.ctc_loss import blank_rate, ctc_loss
from asr_adapt.training.state import Journal, Tally

DEGRADED_SHARE = 0.7
WEIGHT = 1.0  # of the distillation loss, beside the CTC loss in nats a label
_LOG_STEPS = 10
_BABBLE = 8  # other clips of the batch, from which babble is mixed
_AHEAD = 8  # steps
_DEGRADATION = 1  # of a step's random numbers, beside those of its masks


@dataclass(frozen=True)
class Clips:
    """What is trained on: clips with targets, and labels where they can be used."""

    utterances: Sequence[Utterance]
    keys: Sequence[str]
    """of `targets.keys`"""
    labels: Sequence[Sequence[int]]
    """none where a clip serves the teacher alone"""
    streams: Sequence[tuple[Sequence[int], schedule.Sampling | None]]
    """clips that share a step, an equal part each, and how corpora are mixed in them"""

    def durations_s(self, members: Sequence[int]) -> list[float]:
        """Return the length of each of these clips."""
        return [self.utterances[i].duration_s or 0.0 for i in members]


def distil(
    recipe: Resolved,
    model: CTCModel,
    clips: Clips,
    dev: SpeechSplit,
    targets: Targets,
    folder: Path,
    console: Console,
) -> None:
    """Train `model` in place, and write `folder/models/step-N` after every validation.

    A run that was killed resumes from its newest checkpoint: batches, masks and degradation are functions of the seed
    and the step.

    Args:
        recipe: Its `train` says how long, how fast and in what batches; nothing is frozen.
        model: The student, whose alphabet the labels are in.
        clips: What to train on.
        dev: Scored at every validation; it chooses nothing.
        targets: Of the clips.
        folder: The run folder.
        console: Where to report.
    """
    conf = recipe.train.model_copy(update={"precision": train.resolve_precision(recipe.train)})
    AcceleratorState._reset_state()  # as in `asr_adapt.stages.train`
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision={"fp32": "no", "bf16": "bf16"}[conf.precision]
    )
    torch.manual_seed(conf.seed)
    net = model.net
    net.distillation = torch.nn.Linear(net.config.hidden_size, targets.width)
    net.requires_grad_(True)
    net, optimiser = accelerator.prepare(net, torch.optim.AdamW(_groups(net, conf), betas=(0.9, 0.98), eps=1e-6))
    journal = Journal(conf, model, accelerator, optimiser, folder, console)
    journal.resume()
    tally, sums = Tally(), np.zeros(3)
    ahead = torch.utils.data.DataLoader(
        _Steps(model, clips, targets, conf, journal.step), batch_size=None, num_workers=1, prefetch_factor=_AHEAD
    )
    with console.progress("train", total=conf.steps) as progress:
        for batches in ahead:
            scale = schedule.rate_scale(journal.step, conf)
            for group in optimiser.param_groups:
                group["lr"] = scale * group["peak"]
            net.train()
            torch.manual_seed(schedule.seed_of(conf.seed, journal.step))
            num_labels = sum(len(labels) for batch in batches for labels in batch.labels)
            for number, batch in enumerate(batches):
                rng = np.random.default_rng([conf.seed, journal.step, number])
                with accelerator.autocast():
                    losses = batch_losses(model, batch, conf, rng)
                total = losses.ctc / max(1, num_labels) + WEIGHT * losses.distillation / len(batches)
                accelerator.backward(total)
                tally.add(losses.ctc.detach(), losses.blanks, len(batch.heard))
                sums += (losses.distillation.item(), losses.cosine.item(), 1)
            norm = journal.take_step(net.parameters())
            tally.close_step(max(1, num_labels), sum(batch.audio_s for batch in batches), norm)

            is_last = journal.step == conf.steps
            if journal.step % _LOG_STEPS == 0 or is_last:
                record = tally.record(accelerator) | dict(
                    zip(("distillation", "cosine"), (sums[:2] / sums[2]).tolist(), strict=True)
                )
                journal.log(record | {"rate": scale * conf.learning_rate})
                progress.at(
                    journal.step,
                    f"CTC {record['loss']:.2f} distillation {record['distillation']:.3f} cosine "
                    f"{record['cosine']:.3f} {journal.validation_line} {record['audio_s_per_s']:.0f}× real time",
                )
                tally, sums = Tally(), np.zeros(3)
            if journal.step % conf.eval_steps == 0 or is_last:
                with tally.paused():
                    journal.validate(dev)
                    with without_heads(model.net):
                        model.save(folder / "models" / f"step-{journal.step:06d}")
                    journal.save()
            elif journal.is_save_due():
                journal.save()
    model.net.eval()


@dataclass(frozen=True)
class Batch:
    """Clips as the student hears them, and what is wanted of it."""

    heard: Sequence[np.ndarray]
    """float32 (num_samples,) each, 16 kHz"""
    labels: Sequence[Sequence[int]]
    wanted: np.ndarray
    """float32 (frames of all clips, layers x width)"""
    audio_s: float
    """of the clean clips"""


class _Steps(torch.utils.data.IterableDataset[list[Batch]]):
    """The batches of each step from `start` on, one a stream: functions of the seed and the step."""

    def __init__(self, model: CTCModel, clips: Clips, targets: Targets, conf: ResolvedTrain, start: int) -> None:
        self._model, self._clips, self._targets, self._conf, self._start = model, clips, targets, conf, start

    def __iter__(self) -> Iterator[list[Batch]]:
        torch.set_num_threads(1)
        streams, conf = self._clips.streams, self._conf
        of_stream = conf.model_copy(update={"batch_s": conf.batch_s / len(streams)})
        plans = [
            schedule.plan(self._clips.durations_s(members), of_stream, self._start, conf.steps, sampling)
            for members, sampling in streams
        ]
        for step, batches in enumerate(zip(*plans, strict=True), self._start):
            yield [
                make_batch(
                    self._model,
                    self._clips,
                    [members[i] for batch in of for i in batch],
                    self._targets,
                    np.random.default_rng([conf.seed, step, number, _DEGRADATION]),
                )
                for number, ((members, _), of) in enumerate(zip(streams, batches, strict=True))
            ]


def make_batch(
    model: CTCModel, clips: Clips, batch: Sequence[int], targets: Targets, rng: np.random.Generator
) -> Batch:
    """Read clips, degrade most of them, and look up the teacher's targets at the times of the student's frames."""
    clean = [load(clips.utterances[i]) for i in batch]
    heard = [
        _heard(waveform, model, [*clean[:row], *clean[row + 1 :]][:_BABBLE], rng)
        for row, waveform in enumerate(clean)
    ]
    wanted = [
        targets.at(clips.keys[i], _times(model, model.grid.num_frames(len(sound)), len(sound) / len(whole)))
        for i, sound, whole in zip(batch, heard, clean, strict=True)
    ]
    return Batch(heard, [clips.labels[i] for i in batch], np.concatenate(wanted), sum(clips.durations_s(batch)))


@dataclass(frozen=True)
class Losses:
    """Of a batch."""

    ctc: torch.Tensor
    """nats, summed over the labels of the clips that have any"""
    distillation: torch.Tensor
    """mean over frames and layers"""
    cosine: torch.Tensor
    """mean over frames and layers, of what is predicted and the targets"""
    blanks: torch.Tensor
    """share of frames whose best label is blank"""


def batch_losses(model: CTCModel, batch: Batch, conf: ResolvedTrain, rng: np.random.Generator) -> Losses:
    """Return the losses of a batch; `rng` draws SpecAugment's masks."""
    net, device = model.net, model.net.device
    features = forward.encode(model, [torch.from_numpy(waveform).to(device) for waveform in batch.heard])
    frames = [len(clip) for clip in features]
    span = max(1, round(conf.mask_span_s / model.frame_s))
    over_time = augment.time_mask(frames, conf.mask_time, span, rng)
    over_features = augment.feature_mask(len(frames), net.config.hidden_size, conf.mask_features, rng)
    masks = (torch.from_numpy(over_time).to(device), torch.from_numpy(over_features).to(device))
    hidden = forward.contextualise(net, features, masks)  # (B, T, H)
    logits = net.lm_head(net.dropout(hidden)).float()  # (B, T, V)
    labelled = [row for row, labels in enumerate(batch.labels) if labels]
    of_ctc = logits.new_zeros(())
    if labelled:
        of_ctc = ctc_loss(
            logits[labelled], [frames[row] for row in labelled], [batch.labels[row] for row in labelled]
        ).sum()
    predicted = [row[:count] for row, count in zip(net.distillation(hidden).float(), frames, strict=True)]
    distillation, cosine = distillation_loss(torch.cat(predicted), torch.from_numpy(batch.wanted).to(device))
    return Losses(of_ctc, distillation, cosine.detach(), blank_rate(logits, frames).detach())


def distillation_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss and the cosine, each a mean over frames and layers.

    Args:
        predicted: float32 (frames, layers x width).
        wanted: The same of the teacher.
    """
    predicted, wanted = (side.unflatten(1, (len(LAYERS), -1)) for side in (predicted, wanted))  # (F, layers, width)
    distance = torch.nn.functional.smooth_l1_loss(predicted, wanted, reduction="none").mean(-1)
    cosine = torch.nn.functional.cosine_similarity(predicted, wanted, dim=-1)
    return (distance - torch.nn.functional.logsigmoid(cosine)).mean(), cosine.mean()


@contextmanager
def without_heads(net: Net) -> Iterator[None]:
    """Take the heads off, as the model is saved."""
    heads = net.distillation
    del net.distillation
    try:
        yield
    finally:
        net.distillation = heads


def usable(
    model: CTCModel, utterances: Sequence[Utterance], keys: Sequence[str], targets: Targets
) -> tuple[list[int], list[list[int]], Counter[str]]:
    """Return the clips that can be trained on, the labels of each, and what was left out, counted.

    A clip without a text, or whose text leaves no room for CTC at the fastest speed of `noise.SPEED`, has no labels.
    """
    normalise = model.normaliser
    kept: list[int] = []
    labels: list[list[int]] = []
    left_out: Counter[str] = Counter()
    for index, (utterance, key) in enumerate(zip(utterances, keys, strict=True)):
        if not targets.has(key):
            left_out["clips without targets"] += 1
            continue
        text = normalise(utterance.text or "")
        found: list[int] = []
        if not text:
            left_out["labels of clips without a text"] += 1
        elif model.alphabet.unknown(text):
            left_out["labels with a unit that the student does not write"] += 1
        else:
            found = model.alphabet.encode(text)
            samples = int((utterance.duration_s or 0.0) * SAMPLE_RATE_HZ / noise.SPEED[1])
            if samples < model.shortest_clip or model.grid.num_frames(samples) < ctc.frames_needed(found):
                left_out["labels that are too long for their clips"] += 1
                found = []
        kept.append(index)
        labels.append(found)
    return kept, labels, left_out


def _heard(
    waveform: np.ndarray, model: CTCModel, others: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Return a clip as the student hears it, never shorter than a frame."""
    if rng.random() >= DEGRADED_SHARE:
        return waveform
    heard = noise.degrade(waveform, rng, others)
    return heard if len(heard) >= model.shortest_clip else waveform


def _times(model: CTCModel, frames: int, ratio: float) -> np.ndarray:
    """Return the middle of each of the student's frames in seconds of the clean clip.

    Args:
        model: The student.
        frames: How many.
        ratio: Length of what was heard, relative to the clean clip.
    """
    return (model.grid.times_s(frames) + model.frame_s / 2) / ratio


def _groups(net: Net, conf: ResolvedTrain) -> list[dict[str, Any]]:
    """Return AdamW's groups: the new heads have a rate of their own, biases and norms no decay."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        groups.setdefault((name.startswith("distillation"), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": conf.head_learning_rate if is_new else conf.learning_rate,
            "weight_decay": conf.weight_decay if decays else 0.0,
        }
        for (is_new, decays), parameters in groups.items()
    ]
