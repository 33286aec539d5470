"""What a recurrent top brings on the frozen teacher: the row that the embedded base model has to beat.

    python recipes/pretrain/teacher.py --out teacher
    python benchmarks/frozen_teacher.py --teacher teacher --corpus CORPUS --language mdw --out runs/frozen-mdw

The encoder of Whisper base, which the embedded base model was taught by, is not trained: its layers 4 and 6 are
computed once. On them two bidirectional GRU layers of 256 learn CTC: a common way to use a large encoder where there
is little speech and no GPU. The teacher hears what it is made for, windows of 30 s: clips of one split one after
another with half a second of silence between them, so that it knows a clip's neighbours, which a model that
transcribes clip by clip does not. In training half of the frames are masked, in spans of .3 s, from three tenths of
the steps on; the weights that are best on dev are scored on test, greedily.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import quality
import torch
import typer
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asr_adapt import cli
from asr_adapt.audio import SAMPLE_RATE_HZ, augment
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.decoding import ctc
from asr_adapt.errors import InputError
from asr_adapt.recipe import Corpus, Model, Recipe
from asr_adapt.records import counted
from asr_adapt.scoring import error_rates
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import schedule
from asr_adapt.training.ctc_loss import ctc_loss
from asr_adapt.training.state import badness

LAYERS = (4, 6)
WIDTH = 256
WINDOW_S = 30
GAP_S = 0.5
FRAME = 320  # samples
LEARNING_RATE = 2e-3
WARMUP = 0.1  # of the steps; the rate falls linearly afterwards
MASKED, SPAN = 0.5, 15  # of the frames; frames of 20 ms
UNMASKED = 0.3  # of the steps: with masks from the first one, Yoruba's long clips never left the blank plateau
VALIDATIONS = 10


class Top(torch.nn.Module):
    """CTC from the teacher's hidden states, a frame every 40 ms.

    Args:
        mean: float32 (channels,) of the hidden states of train.
        scale: Their standard deviation.
        labels: Labels of the alphabet, blank included.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, labels: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.convolution = torch.nn.Conv1d(len(mean), 2 * WIDTH, 3, stride=2, padding=1)
        self.recurrent = torch.nn.GRU(
            2 * WIDTH, WIDTH, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2
        )
        self.dropout = torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(2 * WIDTH, labels)

    def forward(
        self, hidden: Sequence[torch.Tensor], masks: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[int]]:
        """Return logits (batch, frames, labels) and the frames of each clip.

        Args:
            hidden: float32 (frames, channels) of each clip, every 20 ms.
            masks: bool (batch, frames), True is hidden.
        """
        states = torch.nn.utils.rnn.pad_sequence([(h - self.mean) / self.scale for h in hidden], batch_first=True)
        if masks is not None:
            states = states.masked_fill(masks[..., None], 0)
        states = self.dropout(torch.nn.functional.gelu(self.convolution(states.transpose(1, 2)).transpose(1, 2)))
        counts = [(len(h) + 1) // 2 for h in hidden]
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            states, torch.tensor(counts), batch_first=True, enforce_sorted=False
        )
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        return self.head(self.dropout(out)), counts


@dataclass(frozen=True)
class Result:
    """What is written to frozen_teacher.json; rates are fractions, of test, decoded greedily."""

    steps: int
    hours: float
    """of labelled speech"""
    minutes_features: float
    minutes_training: float
    cer: float
    cer_ci95: tuple[float, float]
    wer: float
    wer_ci95: tuple[float, float]
    curve: list[tuple[int, float, float]]
    """step, WER and CER of dev"""


def main(
    teacher: Annotated[Path, typer.Option(help="Folder that recipes/pretrain/teacher.py wrote.")],
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language.")] = "und",
    train_hours: Annotated[float | None, typer.Option(help="Hours of the train split to use; default: all.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of training.")] = 500,
    batch_s: Annotated[float, typer.Option(help="Seconds of audio in a step.")] = 20,
) -> None:
    """Train the top, score it on test, and write frozen_teacher.json."""
    with cli.one_line_errors():
        if not (teacher / "model.safetensors").is_file():
            raise InputError(
                "no teacher", place=teacher, remedy="Fetch it: python recipes/pretrain/teacher.py --out …"
            )
        encoder = WhisperEncoder.from_pretrained(teacher, dtype=torch.float32).eval().requires_grad_(False)
        recipe = Recipe(
            language=language,
            corpus=Corpus(root=corpus.resolve(), max_train_hours=train_hours),
            model=Model(base="embedded"),  # whose frames decide which clips are too short for their text
        )
        resolved, train, dev = quality.prepared_corpus(recipe, out / "data")
        test = prepared.load(out / "data", "test")
        for split in (train, dev, test):
            if too_long := int((split.durations_s > WINDOW_S).sum()):
                raise InputError(
                    f"{counted(too_long, 'clip')} of {split.name} of more than {WINDOW_S} s",
                    place=corpus,
                    remedy="Leave them out: the teacher hears no more at once.",
                )
    began = time.perf_counter()
    hidden = {split.name: list(_hidden_states(encoder, split)) for split in (train, dev, test)}
    features_s = time.perf_counter() - began

    alphabet = Alphabet.from_texts(train.references, resolved.text)
    began = time.perf_counter()
    top, curve = _trained(hidden, train, dev, alphabet, steps, batch_s, resolved.train.seed)
    training_s = time.perf_counter() - began

    pairs = _pairs(top, hidden["test"], test, alphabet)
    words = [error_rates.word_errors(*pair) for pair in pairs]
    characters = [error_rates.character_errors(*pair) for pair in pairs]
    result = Result(
        steps=steps,
        hours=float(train.durations_s.sum()) / 3600,
        minutes_features=features_s / 60,
        minutes_training=training_s / 60,
        cer=error_rates.rate(characters),
        cer_ci95=error_rates.rate_interval(characters),
        wer=error_rates.rate(words),
        wer_ci95=error_rates.rate_interval(words),
        curve=curve,
    )
    (out / "frozen_teacher.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    print(
        f"test CER {result.cer:.3f} ({result.cer_ci95[0]:.3f} to {result.cer_ci95[1]:.3f}), WER {result.wer:.3f}; "
        f"{result.hours:.2f} h of labels, {steps:,} steps; features {features_s / 60:.1f} min, "
        f"training {training_s / 60:.1f}"
    )


def _hidden_states(encoder: WhisperEncoder, split: SpeechSplit) -> Iterator[torch.Tensor]:
    """Yield float16 (frames, 2 × width) of each clip: the teacher's layers, computed in windows."""
    extractor = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)
    gap = np.zeros(int(GAP_S * SAMPLE_RATE_HZ) // FRAME * FRAME, np.float32)

    def of_window(clips: Sequence[np.ndarray]) -> Iterator[torch.Tensor]:
        starts = np.cumsum([0, *(len(clip) + len(gap) for clip in clips)]) // FRAME
        window = np.concatenate([part for clip in clips for part in (clip, gap)])[: WINDOW_S * SAMPLE_RATE_HZ]
        mels = extractor(window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
        with torch.inference_mode():
            states = encoder(mels, output_hidden_states=True).hidden_states
        joined = torch.cat([states[layer][0] for layer in LAYERS], dim=-1).half()
        for start, clip in zip(starts, clips, strict=False):
            yield joined[start : start + len(clip) // FRAME].clone()

    waiting: list[np.ndarray] = []
    filled = 0
    for number in range(len(split)):
        waveform = split.waveform(number)
        clip = np.pad(waveform, (0, -len(waveform) % FRAME))  # a whole number of frames
        if waiting and filled + len(clip) > WINDOW_S * SAMPLE_RATE_HZ:
            yield from of_window(waiting)
            waiting, filled = [], 0
        waiting.append(clip)
        filled += len(clip) + len(gap)
    yield from of_window(waiting)


def _trained(
    hidden: dict[str, list[torch.Tensor]],
    train: SpeechSplit,
    dev: SpeechSplit,
    alphabet: Alphabet,
    steps: int,
    batch_s: float,
    seed: int,
) -> tuple[Top, list[tuple[int, float, float]]]:
    """Return the top with the weights that were best on dev, and `(step, WER, CER)` of each validation."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    everything = torch.cat([h.float() for h in hidden["train"]])
    top = Top(everything.mean(0), everything.std(0) + 1e-3, len(alphabet))
    labels = [alphabet.encode(reference) for reference in train.references]
    kept = [i for i, h in enumerate(hidden["train"]) if ctc.frames_needed(labels[i]) <= (len(h) + 1) // 2]
    if len(kept) < len(train):
        print(f"{len(train) - len(kept)} of {len(train):,} clips have too few frames of 40 ms for their text")
    optimiser = torch.optim.AdamW(top.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    rise = max(1, round(WARMUP * steps))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))
    )
    curve: list[tuple[int, float, float]] = []
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    batches = _batches(train.durations_s[kept], batch_s, seed)
    for step in range(1, steps + 1):
        clips = [kept[i] for i in next(batches)]
        given = [hidden["train"][i].float() for i in clips]
        masks = None
        if step > UNMASKED * steps:
            masks = torch.from_numpy(augment.time_mask([len(h) for h in given], MASKED, SPAN, rng))
        logits, counts = top.train()(given, masks)
        wanted = [labels[i] for i in clips]
        loss = ctc_loss(logits, counts, wanted).sum() / sum(len(label) for label in wanted)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(top.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        if step % -(-steps // VALIDATIONS) == 0 or step == steps:
            wer, cer = error_rates.rates(_pairs(top, hidden["dev"], dev, alphabet))
            curve.append((step, wer, cer))
            print(f"step {step:,}/{steps:,}: loss {loss:.2f}, dev WER {wer:.3f}, CER {cer:.3f}", flush=True)
            if best is None or badness(wer, cer) < best[0]:
                best = badness(wer, cer), {name: value.clone() for name, value in top.state_dict().items()}
    assert best is not None
    top.load_state_dict(best[1])
    return top, curve


def _batches(durations_s: np.ndarray, batch_s: float, seed: int) -> Iterator[list[int]]:
    epoch = 0
    while True:
        yield from schedule.batches_by_length(durations_s, batch_s, np.random.default_rng([seed, epoch]))
        epoch += 1


def _pairs(top: Top, hidden: Sequence[torch.Tensor], split: SpeechSplit, alphabet: Alphabet) -> list[tuple[str, str]]:
    """Return reference and greedy hypothesis of each clip."""
    top.eval()
    pairs = []
    with torch.inference_mode():
        for reference, states in zip(split.references, hidden, strict=True):
            log_probs = top([states.float()])[0][0].log_softmax(-1).numpy()
            text = alphabet.decode(run.label for run in ctc.greedy(log_probs))
            pairs.append((reference, " ".join(text.split())))
    return pairs


if __name__ == "__main__":
    typer.run(main)
