"""The baseline: transformers' Trainer, configured as in the Hugging Face fine-tuning posts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.model import encoders
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.model.forward import normalised

CLIPS = 8
LEARNING_RATE = 3e-4
WARMUP_STEPS = 500
MASK_TIME = 0.05


def fine_tune(
    adapted: CTCModel,
    data: SpeechSplit,
    steps: int,
    out: Path,
    on_step_end: Callable[[int, list[float]], None],
    *,
    seed: int,
    bf16: bool = False,
    warmup_steps: int = WARMUP_STEPS,
) -> None:
    """Train `adapted` in place: random batches of 8 clips, AdamW, 3e-4 with linear decay, 5 % time masking.

    Sources: huggingface.co/blog/fine-tune-wav2vec2-english and fine-tune-xlsr-wav2vec2.

    Args:
        adapted: The model; its feature encoder is frozen, and what a base model's card says must not be trained.
        data: The train split.
        steps: Optimizer steps.
        out: Output folder that Trainer requires; nothing is written into it.
        on_step_end: Called with the number of steps done and the durations (s) of that step's clips.
        seed: Seed for the order of clips and the masks.
        bf16: Use bf16 autocast; the posts use fp32 on a CPU.
        warmup_steps: Steps of linear warm-up of the learning rate.
    """
    from transformers import Trainer, TrainerCallback, TrainingArguments

    adapted.net.config.update({"mask_time_prob": MASK_TIME, "ctc_loss_reduction": "mean"})
    adapted.net.base_model.freeze_feature_encoder()
    for part in encoders.of(adapted.net).never_trained:
        part.requires_grad_(False)
    labels = [adapted.alphabet.encode(text) for text in data.references]
    batches: list[list[float]] = []  # Trainer prefetches a batch

    class Dataset(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, index: int) -> int:
            return index

    def collate(indices: list[int]) -> dict[str, torch.Tensor]:
        pad = torch.nn.utils.rnn.pad_sequence
        waveforms = [normalised(torch.from_numpy(data.waveform(i).copy())) for i in indices]
        batches.append([len(w) / 16_000 for w in waveforms])
        return {
            "input_values": pad(waveforms, batch_first=True),
            "attention_mask": pad([torch.ones(len(w), dtype=torch.long) for w in waveforms], batch_first=True),
            "labels": pad([torch.tensor(labels[i]) for i in indices], batch_first=True, padding_value=-100),
        }

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            on_step_end(state.global_step, batches[state.global_step - 1])

    Trainer(
        adapted.net,
        TrainingArguments(
            output_dir=str(out),
            per_device_train_batch_size=CLIPS,
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            warmup_steps=warmup_steps,
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            seed=seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        data_collator=collate,
        train_dataset=Dataset(),
        callbacks=[Steps()],
    ).train()
