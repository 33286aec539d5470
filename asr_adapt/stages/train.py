"""train: fine-tune with CTC, one visible loop on accelerate."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState

from asr_adapt import corpora
from asr_adapt.audio import augment
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import Interrupted
from asr_adapt.model import encoders, forward, freezing, mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.device import best_device
from asr_adapt.model.mixed_precision import Precision
from asr_adapt.recipe import Resolved, ResolvedTrain, Train
from asr_adapt.records import describe_duration
from asr_adapt.training import schedule
from asr_adapt.training.ctc_loss import blank_rate, ctc_loss
from asr_adapt.training.data import Batch, Inputs
from asr_adapt.training.state import Journal, Outcome, Tally

_LOG_STEPS = 10
# On a processor in bf16, with clips of 3 to 5 s, a step takes seven eighths of the time without PyTorch's attention
# kernel, whose gradient is slow; with clips of 20 s, and in fp32, the kernel is faster (docs/log.md).
_SHORT_S = 8.0


def train(
    recipe: Resolved,
    model: CTCModel,
    data: SpeechSplit,
    dev: SpeechSplit,
    folder: Path,
    console: Console,
    sampling: schedule.Sampling | None = None,
) -> Outcome:
    """Adapt `model` in place; afterwards it holds the weights that were best on dev.

    A run that was killed resumes from its newest intact checkpoint in `folder/checkpoints`, and ends with the
    weights of one that was not: batches, masks and dropout are functions of the seed and the step.

    Args:
        recipe: A recipe with every choice made (`presets.resolve`). On several processes its precision must be one of
            them: each would measure for itself.
        model: The base model with its new head.
        data: The train split.
        dev: The dev split, which chooses the best weights.
        folder: The run folder; `checkpoints/` and `train_log.jsonl` are written there.
        console: Where to report.
        sampling: How clips are drawn; None: as the recipe's corpora say.

    Raises:
        TrainingDiverged: gradients were not finite 20 times in a row; `model` then holds the best weights so far, if
            there was a validation.
        DiskFull: a checkpoint could not be written; the last one is whole.
        Interrupted: SIGTERM, SIGHUP or Ctrl-C; the state is saved.
        KeyboardInterrupt: a second Ctrl-C; the last checkpoint is whole.
    """
    precision = resolve_precision(recipe.train)
    conf = recipe.train.model_copy(update={"precision": precision})  # validation uses it, too
    lowest, layers = freezing.frozen_depth(recipe.model.freeze, model.net.config), model.net.config.num_hidden_layers
    schedule.check_unfreezing(recipe.train, lowest, layers)
    only_head = lowest == layers
    # It remembers the precision of the first run in a process and would refuse another; processes stay connected.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=best_device().type == "cpu",
        mixed_precision={"fp32": "no", "bf16": "bf16"}[precision],
        # While only the head is trained, the transformer has no gradients.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    freezing.freeze(model.net, recipe.model.freeze, recipe.model.adapter)
    if conf.gradient_checkpointing:
        model.net.gradient_checkpointing_enable({"use_reentrant": False})
    trainee, optimiser = accelerator.prepare(
        _Trainee(model), torch.optim.AdamW(_groups(model, conf), betas=(0.9, 0.98), eps=1e-6, fused=True)
    )
    journal = Journal(conf, model, accelerator, optimiser, folder, console)
    if accelerator.is_main_process:
        _report_settings(recipe, precision, model, data, accelerator, console)
    inputs = Inputs(recipe, model, data, folder / "data" / "features")
    with accelerator.main_process_first(), accelerator.autocast():
        model.net.eval()
        inputs.fill_cache(console)
    sampling = sampling or _sampling(recipe, data, console)
    journal.resume()

    tally = Tally()
    stop = conf.steps if journal.validations_since_best < conf.patience else journal.step
    plan = schedule.plan(data.durations_s, conf, journal.step, stop, sampling)
    ahead = inputs.ahead(plan, journal.step, accelerator.process_index, accelerator.num_processes)
    is_plain = precision == "bf16" and accelerator.device.type == "cpu" and _typical_s(data) <= _SHORT_S
    with (
        encoders.plain_attention(model.net) if is_plain else nullcontext(),
        _stop_signals() as stop_signal,
        console.progress("train", total=conf.steps) as progress,
        contextlib.closing(ahead) as steps,
    ):
        for step in steps:
            learning_rates = _set_learning_rates(optimiser, journal.step, conf)
            head_only = only_head or journal.step < conf.head_steps
            frozen = lowest if head_only else schedule.frozen_depth(journal.step, conf, lowest, layers)
            freezing.train_mode(model.net, frozen)
            for number, batch in enumerate(step.batches):
                torch.manual_seed(schedule.seed_of(conf.seed, journal.step, number, accelerator.process_index))
                is_last = number == len(step.batches) - 1
                clips = [torch.from_numpy(np.array(a, np.float32)).to(accelerator.device) for a in batch.arrays]
                masks = None if head_only else _masks(model, conf, batch, journal.step, number, accelerator)
                with nullcontext() if is_last else accelerator.no_sync(trainee), accelerator.autocast():
                    loss, blanks = trainee(
                        batch.depth,
                        clips,
                        batch.labels,
                        torch.tensor(batch.weights, device=accelerator.device),
                        masks,
                        frozen=frozen or 0,
                        head_only=head_only,
                    )
                # A mean over the labels of all processes and batches of the step; DDP averages over processes.
                accelerator.backward(loss * accelerator.num_processes / step.num_labels)
                tally.add(loss.detach(), blanks, len(clips))
            norm = journal.take_step(trainee.parameters())
            tally.close_step(step.num_labels, step.audio_s, norm)

            last_step = journal.step == conf.steps
            if journal.step % _LOG_STEPS == 0 or last_step:
                record = tally.record(accelerator)
                journal.log(record | learning_rates)
                progress.at(
                    journal.step,
                    f"loss {record['loss']:.2f} blank {record['blank_rate']:.0%} {journal.validation_line} "
                    f"{record['audio_s_per_s']:.0f}× real time",
                )
                tally = Tally()
            is_validation = journal.step % conf.eval_steps == 0 or last_step
            with tally.paused() if is_validation else nullcontext():
                if is_validation:
                    journal.validate(dev)
                stopped_by, is_save_due = _agreed(stop_signal(), journal.is_save_due(), accelerator)
                if is_validation or stopped_by or is_save_due:
                    journal.save()
            if stopped_by:
                name = signal.Signals(stopped_by).name
                message = f"stopped by {name} and saved after step {journal.step:,}; the same command resumes there"
                raise Interrupted(stopped_by, message if accelerator.is_main_process else "")
            if journal.validations_since_best >= conf.patience:
                console.say(
                    f"no improvement in {conf.patience} validations: stopped early after step {journal.step:,}"
                )
                break
    return journal.finish(dev)


def resolve_precision(conf: Train) -> Precision:
    """Return the precision that was asked for, else the fastest of the device."""
    return conf.precision or mixed_precision.fastest(best_device())


def _typical_s(data: SpeechSplit) -> float:
    """Return the length of the clip that a second of speech is in, on average."""
    return float((data.durations_s**2).sum() / data.durations_s.sum())


class _Trainee(torch.nn.Module):
    """What accelerate wraps: clips and labels in, loss out."""

    def __init__(self, model: CTCModel) -> None:
        super().__init__()
        self.net = model.net
        self._model = model
        self._encoder_trains = any(
            p.requires_grad for module in encoders.of(model.net).feature_encoder for p in module.parameters()
        )

    def forward(
        self,
        depth: int | None,
        clips: list[torch.Tensor],
        labels: list[list[int]],
        weights: torch.Tensor,
        masks: tuple[torch.Tensor, torch.Tensor] | None,
        *,
        frozen: int,
        head_only: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the CTC loss summed over labels (nats), and the share of frames whose best label is blank.

        Args:
            depth: How many transformer layers `clips` have been through; None: they are waveforms.
            clips: Of `Inputs.of`, as float32.
            labels: Label ids of each.
            weights: (clips,) weight of each clip's loss: 1, or 0 where a process had nothing of its own.
            masks: SpecAugment's, of `contextualise`.
            frozen: Up to which transformer layer nothing is trained.
            head_only: Whether transformer and feature encoder are not trained.
        """
        if depth is None:
            with torch.set_grad_enabled(self._encoder_trains and not head_only and not frozen):
                clips, depth = forward.encode(self._model, clips), 0
        if depth < frozen:
            with torch.no_grad():
                below = forward.contextualise(self.net, clips, depth=depth, until=frozen)
                clips, depth = [row[: len(clip)] for row, clip in zip(below, clips, strict=True)], frozen
        with torch.set_grad_enabled(not head_only):
            hidden = forward.contextualise(self.net, clips, masks, depth=depth)  # (B, T, H)
        logits = self.net.lm_head(self.net.dropout(hidden)).float()  # (B, T, V)
        num_frames = [len(clip) for clip in clips]
        losses = ctc_loss(logits, num_frames, labels)  # (B,)
        return (losses * weights).sum(), blank_rate(logits, num_frames).detach()


def _report_settings(
    recipe: Resolved,
    precision: Precision,
    model: CTCModel,
    data: SpeechSplit,
    accelerator: Accelerator,
    console: Console,
) -> None:
    conf = recipe.train
    console.table(
        f"model.freeze: {recipe.model.freeze}",
        ("part", "parameters", "trained"),
        [(name, f"{total:,}", f"{trained:,}") for name, total, trained in freezing.trainable_table(model.net)],
    )
    audio_s = conf.steps * conf.accumulate * conf.batch_s
    console.say(
        f"{precision}, {torch.get_num_threads()} threads, {accelerator.num_processes} process(es), "
        f"{accelerator.device.type}; {conf.steps:,} steps × {conf.accumulate} × {conf.batch_s:g} s = "
        f"{describe_duration(audio_s)} of audio, {audio_s / data.durations_s.sum():.1f} epochs; "
        f"learning rate {conf.learning_rate:g} (head {conf.head_learning_rate:g}); "
        f"head only for {conf.head_steps} steps"
        + (f", then one more transformer layer every {conf.unfreeze_steps} steps" if conf.unfreeze_steps else "")
    )


def _sampling(recipe: Resolved, data: SpeechSplit, console: Console) -> schedule.Sampling | None:
    """Return how the corpora are mixed, and print it; None: every clip is drawn equally often."""
    sources, temperature = (recipe.corpus, *recipe.corpora), recipe.train.sampling_temperature
    named = [source for source in sources if source.root is not None]
    weights = [source.weight for source in named]
    if len(named) < 2:
        if temperature != 1:
            console.warn("train.sampling_temperature has no effect: there is one corpus")
        return None
    if temperature == 1 and len(set(weights)) == 1:
        return None
    numbers = corpora.corpus_numbers(data.utterances, named)
    sampling = schedule.Sampling.of(data.durations_s, numbers, weights, temperature)
    hours = np.bincount(numbers, data.durations_s, len(named)) / 3600
    drawn = sampling.shares * recipe.train.steps * recipe.train.accumulate * recipe.train.batch_s / 3600
    console.table(
        "sampling of corpora",
        ("corpus", "hours", "share of training", "epochs"),
        [
            (name, f"{of:.2f}", f"{share:.1%}", f"{total / of:.1f}" if of else "no clip in train")
            for name, of, share, total in zip(corpora.names(named), hours, sampling.shares, drawn, strict=True)
        ],
    )
    return sampling


def _groups(model: CTCModel, conf: Train) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: head, body and layers have learning rates of their own, biases no decay."""
    groups: dict[tuple[str, int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.net.named_parameters():
        if parameter.requires_grad:
            part = "head" if name.startswith("lm_head") else "body"
            below = 0 if part == "head" or conf.layer_decay == 1 else encoders.of(model.net).layers_above(name)
            groups.setdefault((part, below, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "name": part, "below": below, "weight_decay": conf.weight_decay if decays else 0.0}
        for (part, below, decays), parameters in groups.items()
    ]


def _set_learning_rates(optimiser: Any, step: int, conf: ResolvedTrain) -> dict[str, float]:
    """Set the learning rates of a step in the groups of `_groups`, and return those of body and head."""
    scale = schedule.rate_scale(step, conf)
    peaks = {"head": conf.head_learning_rate, "body": conf.learning_rate}
    for group in optimiser.param_groups:
        group["lr"] = scale * peaks[group["name"]] * conf.layer_decay ** group["below"]
    return {"rate": scale * peaks["body"], "head_rate": scale * peaks["head"]}


def _agreed(signal_number: int, is_save_due: bool, accelerator: Accelerator) -> tuple[int, bool]:
    """Return the signal that any process received, 0 for none, and whether a checkpoint is due by any one's clock.

    All processes must save, and leave, after the same step.
    """
    if accelerator.num_processes == 1:
        return signal_number, is_save_due
    mine = torch.tensor([[signal_number, int(is_save_due)]], device=accelerator.device)
    of_any, due = accelerator.gather(mine).amax(dim=0).tolist()
    return of_any, bool(due)


def _masks(
    model: CTCModel,
    conf: ResolvedTrain,
    batch: Batch,
    step: int,
    number: int,
    accelerator: Accelerator,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return SpecAugment's masks of one batch; none during the warm-up, while the model learns to write at all."""
    if step < conf.warmup * conf.steps or conf.mask_time + conf.mask_features == 0:
        return None
    rng = np.random.default_rng([conf.seed, step, number, accelerator.process_index])
    lengths = [model.grid.num_frames(len(a)) if batch.depth is None else len(a) for a in batch.arrays]
    span = max(1, round(conf.mask_span_s / model.frame_s))
    over_time = augment.time_mask(lengths, conf.mask_time, span, rng)
    over_features = augment.feature_mask(len(lengths), model.net.config.hidden_size, conf.mask_features, rng)
    return (
        torch.from_numpy(over_time).to(accelerator.device),
        torch.from_numpy(over_features).to(accelerator.device),
    )


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Note SIGTERM, SIGHUP and Ctrl-C, so that the loop can save and leave at the end of a step.

    Yields a function that returns the first of them, 0 while there is none. A second Ctrl-C raises
    `KeyboardInterrupt` at once. What is ignored stays ignored, as SIGHUP under nohup.
    """
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        if number == signal.SIGINT and signal.SIGINT in noted:
            raise KeyboardInterrupt
        noted.append(number)

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not in the main thread, where signals cannot be caught
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    try:
        yield lambda: noted[0] if noted else 0
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
