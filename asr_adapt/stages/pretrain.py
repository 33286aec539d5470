"""pretrain: continued pre-training of a base model on speech of the language, which needs no transcripts.

With it a large multilingual model came to a WER of .298 on Ainu (Nowakowski et al. 2023, arXiv:2301.07295). A small
base, or little speech, is easily made worse by it: the rate is low, and the weights are drawn back to those of the
start, as in L2-SP (Li et al. 2018, "Explicit inductive bias for transfer learning with convolutional networks",
arXiv:1802.01483), decoupled from the optimiser as AdamW's decay is.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.model import forward, freezing, mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.device import best_device
from asr_adapt.model.encoders import Net
from asr_adapt.recipe import Resolved, ResolvedTrain
from asr_adapt.records import describe_duration
from asr_adapt.storage import atomic_file
from asr_adapt.training import contrastive, schedule
from asr_adapt.training.contrastive import Contrast
from asr_adapt.training.state import Journal

WEIGHTS = "encoder.safetensors"
_LOG_STEPS = 10
_DIVERSITY = 0.1  # wav2vec 2.0's weight of the codebook's use


def pretrain(recipe: Resolved, model: CTCModel, speech: SpeechSplit, folder: Path, console: Console) -> None:
    """Train the transformer of `model` in place with wav2vec 2.0's loss, and write `folder/encoder.safetensors`.

    The feature encoder stays, and with it what there is to predict. A run that was killed resumes from its newest
    checkpoint in `folder/checkpoints`; `folder/train_log.jsonl` has the loss, how often the true target is the
    nearest, how much of the codebook is used, and how far the weights have moved.

    Args:
        recipe: `train.pretrain_steps`, `pretrain_learning_rate`, `pretrain_anchor`, `batch_s` and `seed` decide.
        model: The base model.
        speech: With or without transcripts.
        folder: Where to write.
        console: Where to report.

    Raises:
        TrainingDiverged: gradients were not finite 20 times in a row.
    """
    precision = recipe.train.precision or mixed_precision.fastest(best_device())
    conf = recipe.train.model_copy(
        update={
            "precision": precision,
            "steps": recipe.train.pretrain_steps,
            "accumulate": 1,
            "head_steps": 0,
        }
    )
    AcceleratorState._reset_state()  # as in `train`
    accelerator = Accelerator(
        cpu=best_device().type == "cpu",
        mixed_precision={"fp32": "no", "bf16": "bf16"}[precision],
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    torch.manual_seed(conf.seed)
    contrast, is_own = Contrast.of_base(recipe.model, model.net.config)
    model.net.to(accelerator.device)
    freezing.freeze(model.net, "feature_encoder")
    model.net.lm_head.requires_grad_(False)
    trained = {name: p for name, p in model.net.named_parameters() if p.requires_grad}
    start = {name: parameter.detach().clone() for name, parameter in trained.items()}
    pretrainee = _Pretrainee(model, contrast)
    prepared, optimiser = accelerator.prepare(
        pretrainee,
        torch.optim.AdamW(
            [
                {"params": [*trained.values()], "peak": conf.pretrain_learning_rate},
                {"params": [*contrast.parameters()], "peak": _contrast_rate(conf, is_own=is_own)},
            ],
            betas=(0.9, 0.98),
            eps=1e-6,
            weight_decay=0.0,
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    whole = replace(model, net=cast(Net, pretrainee))  # what checkpoints hold
    journal = Journal(conf, whole, accelerator, optimiser, folder, console)
    journal.resume()
    if accelerator.is_main_process:
        console.say(
            f"wav2vec 2.0's loss on {describe_duration(float(speech.durations_s.sum()))} of speech, {conf.steps:,} "
            f"steps of {conf.batch_s:g} s; learning rate {conf.pretrain_learning_rate:g}, anchor "
            f"{conf.pretrain_anchor:g}; codebook and projections {'of the base model' if is_own else 'are new'}"
        )
    sums, seconds = np.zeros(4), 0.0
    with console.progress("pre-train", total=conf.steps) as progress:
        for (batch,) in schedule.plan(speech.durations_s, conf, journal.step, conf.steps):
            scale = schedule.rate_scale(journal.step, conf)
            for group in optimiser.param_groups:
                group["lr"] = scale * group["peak"]
            model.net.train()
            seed = schedule.seed_of(conf.seed, journal.step, accelerator.process_index)
            torch.manual_seed(seed)
            mine = [i for i, _ in schedule.share(batch, accelerator.process_index, accelerator.num_processes)]
            with accelerator.autocast():
                losses = prepared([_on(speech.waveform(i), accelerator) for i in mine], seed)
            accelerator.backward(losses.total(_DIVERSITY))
            journal.take_step(prepared.parameters())
            _draw_back(trained, start, scale * conf.pretrain_learning_rate * conf.pretrain_anchor)
            sums += [*(float(x.detach()) for x in (losses.contrastive, losses.accuracy, losses.codes)), 1]
            seconds += float(speech.durations_s[batch].sum())
            if journal.step % _LOG_STEPS == 0 or journal.step == conf.steps:
                loss, accuracy, codes = (sums[:3] / sums[3]).tolist()
                moved = _moved(trained, start)
                record = {
                    "loss": loss,
                    "accuracy": accuracy,
                    "codes": codes,
                    "of_codes": contrast.codes,
                    "moved": moved,
                }
                journal.log(record | {"rate": scale * conf.pretrain_learning_rate, "audio_s": seconds})
                progress.at(
                    journal.step,
                    f"loss {loss:.2f} nearest {accuracy:.0%} codes {codes:.0f} of {contrast.codes} moved {moved:.1%}",
                )
                sums = np.zeros(4)
            if journal.is_save_due():
                journal.save()
    model.net.eval()
    if accelerator.is_main_process:
        with atomic_file(folder / WEIGHTS) as partial:
            body = model.net.base_model.state_dict()
            save_file({name: value.contiguous().cpu() for name, value in body.items()}, partial)


def load(model: CTCModel, path: Path) -> None:
    """Give a model the weights of `pretrain`, below its head.

    Raises:
        InputError: they are not there, damaged, or of another model.
    """
    try:
        model.net.base_model.load_state_dict(load_file(path))
    except Exception as error:  # OSError, SafetensorError, and RuntimeError where names or shapes differ
        raise InputError(
            f"not the pre-trained weights ({error})", place=path, remedy="Delete it; run again."
        ) from error


class _Pretrainee(torch.nn.Module):
    """What accelerate wraps: clips in, losses out."""

    def __init__(self, model: CTCModel, contrast: Contrast) -> None:
        super().__init__()
        self.net, self.contrast = model.net, contrast
        self._model = model

    def forward(self, clips: list[torch.Tensor], seed: int) -> contrastive.Losses:
        """Return the losses of waveforms, with masks and wrong targets drawn by `seed`."""
        with torch.no_grad():
            features = forward.encode(self._model, clips)
        lengths = [len(clip) for clip in features]
        span = max(1, round(contrastive.MASK_SPAN_S / self._model.frame_s))
        masked = augment.time_mask(lengths, contrastive.MASKED, span, np.random.default_rng(seed))
        return self.contrast(
            self._model,
            features,
            torch.from_numpy(masked).to(features[0].device),
            torch.Generator().manual_seed(seed),
        )


def _contrast_rate(conf: ResolvedTrain, *, is_own: bool) -> float:
    """Return the rate of codebook and projections: new ones must be learned before the transformer has moved."""
    return conf.pretrain_learning_rate if is_own else 20 * conf.pretrain_learning_rate


def _on(waveform: np.ndarray, accelerator: Accelerator) -> torch.Tensor:
    return torch.from_numpy(np.array(waveform, np.float32)).to(accelerator.device)


def _draw_back(trained: dict[str, Any], start: dict[str, torch.Tensor], share: float) -> None:
    """Move the weights by a share of the way back to the start."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.lerp_(start[name], min(1.0, share))


def _moved(trained: dict[str, Any], start: dict[str, torch.Tensor]) -> float:
    """Return how far the weights are from the start, relative to their length."""

    def length(tensors: Iterable[torch.Tensor]) -> float:
        return float(torch.stack([tensor.detach().norm() for tensor in tensors]).norm())

    return length(parameter - start[name] for name, parameter in trained.items()) / length(start.values())
