"""The state of training beside its loop: sums over steps, validation, the best model so far, log and checkpoints."""

import functools
import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from asr_adapt import processes
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError, TrainingDiverged
from asr_adapt.inference import shared
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import ResolvedTrain
from asr_adapt.records import Transcript
from asr_adapt.scoring import error_rates
from asr_adapt.training import checkpoint

_BAD_STEPS_LIMIT = 20
_PLATEAU = 0.99  # fraction of blank frames at which a model outputs next to nothing
# Fields of a Journal that a checkpoint holds beside the tensors, by their names there, which stay as they were.
_SAVED = {name: name for name in ("best", "on_plateau", "blank_rate", "bad_steps", "skipped")} | {
    "looks_since_best": "validations_since_best"
}


@dataclass(frozen=True)
class Outcome:
    """How training ended; error rates are those of dev, as fractions."""

    steps: int
    best_step: int
    best_wer: float
    best_cer: float
    skipped: int
    """steps that changed nothing, since their gradient was not finite"""


class Tally:
    """Sums over the steps between two log lines, kept on the device until they are logged."""

    def __init__(self) -> None:
        self._loss: torch.Tensor | float = 0.0
        self._blanks: torch.Tensor | float = 0.0
        self._clips = 0
        self._labels = 0
        self._audio_s = 0.0
        self._norms: list[float] = []
        self._began = time.perf_counter()

    def add(self, loss: torch.Tensor, blanks: torch.Tensor, clips: int) -> None:
        """Count one batch of this process.

        Args:
            loss: Scalar, summed over labels (nats).
            blanks: Scalar, share of frames whose best label is blank.
            clips: How many clips `blanks` is of.
        """
        self._loss = self._loss + loss
        self._blanks = self._blanks + blanks * clips
        self._clips += clips

    def close_step(self, labels: int, audio_s: float, norm: float) -> None:
        """Count what all processes did in a step: labels, seconds of audio, and the gradient's norm."""
        self._labels += labels
        self._audio_s += audio_s
        self._norms.append(norm)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out of the seconds and the speed."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def record(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the record of these steps for `train_log.jsonl`, over all processes, each of which must call this.

        Means: `loss` (nats per label), `blank_rate`, `grad_norm`; totals: `elapsed_s`, and `audio_s_per_s`.
        """
        sums = torch.tensor([float(self._loss), float(self._blanks), float(self._clips)], device=accelerator.device)
        loss, blanks, clips = accelerator.reduce(sums).tolist()
        elapsed_s = time.perf_counter() - self._began
        return {
            "loss": loss / self._labels,
            "blank_rate": blanks / clips,
            "grad_norm": float(np.mean(self._norms)),
            "audio_s_per_s": self._audio_s / elapsed_s,
            "elapsed_s": elapsed_s,
        }


@dataclass
class Journal:
    """The optimiser's steps, and the state beside the loop; `folder` is the run folder."""

    conf: ResolvedTrain
    model: CTCModel
    accelerator: Accelerator
    optimiser: Any
    folder: Path
    console: Console
    step: int = 0
    bad_steps: int = 0
    """in a row, up to now"""
    skipped: int = 0
    """over the whole run"""
    best: dict[str, float] = field(default_factory=dict)
    validations_since_best: int = 0
    validation_line: str = ""
    on_plateau: bool = False
    _saved_at: float = field(default_factory=time.monotonic)
    blank_rate: float = 0.0

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def _log_path(self) -> Path:
        return self.folder / "train_log.jsonl"

    def resume(self) -> None:
        """Restore model, optimiser and this journal from the newest intact checkpoint, if there is one.

        Raises:
            InputError: TensorBoard is required and not installed.
        """
        _ = self._events  # fails before the first step if TensorBoard is missing
        found = self._newest()
        if found is None:
            if self.accelerator.is_main_process:
                self._log_path.write_text("")
            return
        self.model.net.load_state_dict({k[6:]: v for k, v in found.tensors.items() if k.startswith("model.")})
        _load_optimiser(self.optimiser, found.tensors)
        self.step = found.step
        for name, attribute in _SAVED.items():
            setattr(self, attribute, found.meta[name])
        if not processes.from_leader(self._has_best):
            self.best, self.validations_since_best = {}, 0
        if self.accelerator.is_main_process:
            done = [line for line in self._log_lines() if _step_of(line) <= self.step]
            self._log_path.write_bytes(b"".join(line + b"\n" for line in done))
            self.console.say(f"resuming from the checkpoint after step {self.step:,}")

    def _newest(self) -> checkpoint.Checkpoint | None:
        """Return the newest intact checkpoint; the first process chooses it for all."""
        found: checkpoint.Checkpoint | None = None

        def step() -> int | None:
            nonlocal found
            found, problems = checkpoint.newest(self._checkpoints, self._saved())
            for problem in problems:
                self.console.warn(f"{problem} Falling back to the one before.")
            return found.step if found else None

        chosen = processes.from_leader(step)
        if chosen is not None and found is None:
            return checkpoint.load_step(self._checkpoints, chosen)
        return found

    def _has_best(self) -> bool:
        try:
            checkpoint.load(self._checkpoints / "best")
        except InputError as error:
            self.console.warn(f"{error} The best model is chosen anew from here on.")
            return False
        return True

    def _log_lines(self) -> list[bytes]:
        return self._log_path.read_bytes().splitlines() if self._log_path.is_file() else []

    def _saved(self) -> dict[str, Any]:
        return {name: getattr(self, attribute) for name, attribute in _SAVED.items()}

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            DiskFull: it could not be written; the last one is whole.
        """
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            tensors = {f"model.{k}": v for k, v in self.model.net.state_dict().items()}
            tensors |= _optimiser_tensors(self.optimiser)
            checkpoint.save_step(self._checkpoints, self.step, tensors, self._saved())
        self._saved_at = time.monotonic()

    def is_save_due(self) -> bool:
        """Whether the last checkpoint is older than `train.checkpoint_minutes`, by this process's clock."""
        return time.monotonic() - self._saved_at > 60 * self.conf.checkpoint_minutes

    def take_step(self, parameters: Iterable[torch.nn.Parameter]) -> float:
        """Clip the gradients and update the weights, and return the norm; a step that is not finite is skipped.

        Raises:
            TrainingDiverged: 20 such steps in a row; the model then holds the best weights, if it was validated.
        """
        norm = float(self.accelerator.clip_grad_norm_(parameters, self.conf.max_grad_norm))
        if math.isfinite(norm):
            self.optimiser.step()
            self.bad_steps = 0
        else:
            self._note_bad_step(norm)
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return norm

    def _note_bad_step(self, norm: float) -> None:
        self.bad_steps += 1
        self.skipped += 1
        self._write({"step": self.step + 1, "skipped": self.skipped})  # as all lines: steps done
        self.console.warn(f"step {self.step:,}: gradient norm {norm}; step skipped")
        if self.bad_steps >= _BAD_STEPS_LIMIT:
            if self.best:
                self._take_best()
            kept = f"The best, of step {self.best['step']:,}, is kept." if self.best else "There is no model yet."
            raise TrainingDiverged(
                f"{_BAD_STEPS_LIMIT} steps in a row had a gradient that is not finite, {self.skipped} in all",
                place=f"step {self.step}",
                remedy=f"Lower train.learning_rate. {kept}",
                has_model=bool(self.best),
            )

    def log(self, record: dict[str, float]) -> None:
        """Append a record of the last steps, such as `Tally.record`, to the log."""
        self.blank_rate = record.get("blank_rate", self.blank_rate)
        self._write({"step": self.step, **record})

    def validate(self, dev: SpeechSplit) -> None:
        """Score dev, keep the model if it is the best so far; report the blank plateau when it begins and ends.

        Raises:
            DiskFull: the best could not be written.
        """
        wer, cer = validation_error_rates(self.model, dev, self.conf.precision)
        self.validation_line = f"WER {wer:.3f}, CER {cer:.3f}"
        self._write({"step": self.step, "dev_wer": wer, "dev_cer": cer})
        progress = f"step {self.step:,}/{self.conf.steps:,}"
        self.console.say(f"{progress}: validation {self.validation_line}, blank rate {self.blank_rate:.1%}")
        plateau = self.blank_rate >= _PLATEAU
        if plateau and not self.on_plateau:
            self.console.warn(
                "blank plateau: CTC first learns to output only blanks. This usually passes; if it does not, train "
                "or warm up longer, or lower train.learning_rate."
            )
        if self.on_plateau and not plateau:
            self.console.say("left the blank plateau")
        self.on_plateau = plateau
        if not self.best or badness(wer, cer) < badness(self.best["wer"], self.best["cer"]):
            self.best = {"step": self.step, "wer": wer, "cer": cer}
            self.validations_since_best = 0
            if self.accelerator.is_main_process:
                checkpoint.save(self._checkpoints, "best", self.step, self.model.net.state_dict(), self.best)
        else:
            self.validations_since_best += 1

    def finish(self, dev: SpeechSplit) -> Outcome:
        """Load the best weights into the model and return the outcome; validate again if they are damaged."""
        self.accelerator.wait_for_everyone()
        if not self.best:  # the best was damaged after the last step
            self.validate(dev)
        self._take_best()
        if self.skipped:
            self.console.warn(
                f"{self.skipped} of {self.step:,} steps were skipped because of gradients that were not finite"
            )
        if self.best["wer"] >= 1 and self.on_plateau:
            self.console.warn("training ended on the blank plateau: the model outputs almost only blanks. "
                              "Train longer (train.steps), or start from a base model.")  # fmt: skip
        return Outcome(
            steps=self.step,
            best_step=int(self.best["step"]),
            best_wer=self.best["wer"],
            best_cer=self.best["cer"],
            skipped=self.skipped,
        )

    def _take_best(self) -> None:
        self.model.net.load_state_dict(checkpoint.load(self._checkpoints / "best").tensors)
        self.model.net.eval()

    def _write(self, record: dict[str, float]) -> None:
        """Append to train_log.jsonl, and to TensorBoard's events if `train.tensorboard`."""
        if self.accelerator.is_main_process:
            with self._log_path.open("a", encoding="utf-8") as file:
                finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
                file.write(json.dumps(finite) + "\n")
            if self._events is not None:
                for name, value in record.items():
                    self._events.add_scalar(name, value, self.step)
                self._events.flush()

    @functools.cached_property
    def _events(self) -> Any:
        if not self.conf.tensorboard:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "TensorBoard is not installed",
                place="train.tensorboard",
                remedy="pip install 'asr-adapt[tensorboard]'",
            ) from error
        return SummaryWriter(str(self.folder / "tensorboard"))


def badness(wer: float, cer: float) -> float:
    """Return what the best model minimises: WER stays near 1 while CER already falls, so both count."""
    return min(wer, 1.0) + cer


def validation_error_rates(model: CTCModel, dev: SpeechSplit, precision: Precision | None) -> tuple[float, float]:
    """Return WER and CER on dev, as fractions; the model is in evaluation mode afterwards.

    Every process must call this: each transcribes its share.

    Args:
        model: The model to score.
        dev: The dev split.
        precision: That of training: in another, a resumed run could choose other weights as the best. None: the
            fastest.
    """
    model.net.eval()
    normalise = model.normaliser
    pairs = []
    results = shared.transcripts(Transcriber(model, precision=precision), dev)
    for reference, result in zip(dev.references, results, strict=True):
        assert isinstance(result, Transcript), result  # these waveforms were decoded before
        pairs.append((reference, normalise(result.text)))
    return error_rates.rates(pairs)


def _optimiser_tensors(optimiser: Any) -> dict[str, torch.Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{name}": value for i, values in state.items() for name, value in values.items()}


def _load_optimiser(optimiser: Any, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _step_of(line: bytes) -> float:
    """Return the step of a log line; a truncated or damaged line counts as later than every checkpoint."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
