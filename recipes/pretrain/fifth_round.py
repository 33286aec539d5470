"""The embedded base model's fifth round: Whisper's encoder as a Wav2Vec 2.0 model, taught to write phones.

    python recipes/pretrain/fifth_round.py clean/manifest.jsonl people/manifest.jsonl pool/manifest.jsonl \
        --teacher teacher --out runs/fifth_round

The student (`transplant.py`, `way_in.py`) is the teacher from the first step on, but for a head. What makes its first
hidden states and its positions is written, not trained. The layers are trained, with two losses, means over frames:

- of the hidden states after `windows.LAYERS`, each of the teacher's dimensions at unit scale, so that the few large
  ones do not outweigh the rest: smooth L1, and minus the log-sigmoid of the cosine;
- CTC on phones, a label's mean, where the clips of a window have any.

The student hears most windows degraded, and some of its frames masked; the teacher hears all of them clean. All
speech must be clean, since it is degraded as it is read (`speak.py --clean`, `recordings.py --copies 1`).

A run that was killed resumes from its newest checkpoint. `model/` is written at every checkpoint.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from teacher import Teacher
from tqdm import tqdm
from transplant import Turn, student
from windows import LAYERS, WINDOW_S, Batch, Clips, Windows, bands, hears

from asr_adapt import bundled, cli
from asr_adapt.audio import SAMPLE_RATE_HZ, augment
from asr_adapt.decoding import ctc
from asr_adapt.errors import InputError
from asr_adapt.model import encoders, mixed_precision
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.records import Utterance, read_jsonl
from asr_adapt.storage import atomic_file, write_text
from asr_adapt.training.ctc_loss import ctc_loss
from asr_adapt.workflows.run import write_environment

BATCH_S = 48.0
STEPS = 1_000
RATE, HEAD_RATE = 1e-4, 1e-3
WARMUP = 100
CTC_WEIGHT = 0.1
HEAD_STEPS = 200  # in which CTC trains the head alone
MASKED, MASK_SPAN = 0.1, 10  # frames
SAMPLE = 400  # clips whose first hidden states say how the residual stream is turned
FITTED = 40  # windows of 10 s that the way in is fitted to
CLAMP = 8.0
FACTS = "facts.json"  # of a finished run
_LOG_STEPS = 20
_LANGUAGES = 40


def main(
    manifests: Annotated[list[Path], typer.Argument(help="Corpora: synthesised speech, recordings, the pool.")],
    teacher: Annotated[Path, typer.Option(help="Folder of teacher.py.")] = Path("teacher"),
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/fifth_round"),
    steps: Annotated[int, typer.Option(help="In all.")] = STEPS,
    batch_s: Annotated[float, typer.Option(help="Seconds of speech in a step.")] = BATCH_S,
    save_minutes: Annotated[float, typer.Option(help="From checkpoint to checkpoint.")] = 10.0,
    workers: Annotated[int, typer.Option(help="Processes that degrade speech and ask the teacher.")] = 1,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Train the fifth round."""
    with cli.one_line_errors():
        run(manifests, teacher, out, steps, batch_s, save_minutes, workers, seed)


def run(
    manifests: list[Path],
    teacher: Path,
    out: Path,
    steps: int,
    batch_s: float,
    save_minutes: float,
    workers: int,
    seed: int,
) -> None:
    """Train and write `out`; see `main`."""
    kept_settings = out / "settings.json"
    before = json.loads(kept_settings.read_text(encoding="utf-8")) if kept_settings.is_file() else {}
    # Measured; another time it may be the other one.
    precision = before.get("precision") or mixed_precision.fastest(torch.device("cpu"))
    settings = {
        "steps": steps,
        "batch_s": batch_s,
        "seed": seed,
        "precision": precision,
        "manifests": [str(manifest) for manifest in manifests],
        "hours": _hours(manifests),
    }
    if before and before != settings:
        raise InputError("this run folder belongs to other settings", place=out, remedy="Give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(kept_settings, json.dumps(settings, indent=1) + "\n")
    torch.set_num_threads(1)
    phones = CTCModel.load(bundled.folder("base_small"))
    sources, utterances = _read(manifests)
    clips = Clips.decode(utterances, out / "clips.i16")
    labels = [_labels(phones, utterance) for utterance in utterances]
    known = Teacher.load(teacher)
    statistics = _statistics(known, clips, out / "statistics.pt")
    turn = Turn(statistics["turn"])
    checkpoint = out / "checkpoint.pt"
    kept = torch.load(checkpoint, weights_only=True) if checkpoint.is_file() else {}
    step = kept.get("step", 0)
    windows = Windows(teacher, clips, labels, sources, batch_s, step, seed)
    _, heard, *_ = windows.drawn(10.0, FITTED, np.random.default_rng([seed, 2]))
    torch.manual_seed(seed)
    net = student(known, len(phones.alphabet.units), turn, torch.from_numpy(heard), bands(known, heard))
    net.set_attn_implementation("eager")  # the fused one is slower in bf16 on a processor
    encoders.of(net).prepare()  # positions from a table
    optimiser = torch.optim.AdamW(_groups(net), betas=(0.9, 0.98), eps=1e-6, fused=True)
    if kept:
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
    print(f"{len(clips):,} clips, {clips.durations_s().sum() / 3600:.2f} h, {sum(map(bool, labels)):,} with labels")

    def save() -> None:
        with atomic_file(checkpoint) as partial:
            torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, partial)
        CTCModel(net, phones.alphabet, phones.language, phones.text, normalise_waveform=True).save(out / "model")

    ahead = torch.utils.data.DataLoader(
        windows, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    sums: dict[str, list[float]] = {}
    logged = saved = time.monotonic()
    for batch in tqdm(ahead, total=steps, initial=step, unit="step"):
        if step == steps:
            break
        scale = min(1.0, (step + 1) / WARMUP) * (0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = scale * group["peak"]
        rng = np.random.default_rng([seed, step, 1])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = _losses(net, batch, statistics, rng, head_only=step < HEAD_STEPS)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        for name, value in losses.items():
            sums.setdefault(name, []).append(value.item())
        if step % _LOG_STEPS == 0:
            of_some = {name: values for name, values in sums.items() if not np.isnan(values).all()}
            means = {name: round(float(np.nanmean(values)), 4) for name, values in of_some.items()}
            line = {"step": step, "elapsed_s": round(time.monotonic() - logged, 1), **means}
            logged = time.monotonic()
            with (out / "train_log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            tqdm.write(" ".join(f"{name} {value:g}" for name, value in line.items()))
            sums = {}
        if time.monotonic() - saved > 60 * save_minutes:
            save()
            saved = time.monotonic()
    save()
    write_environment(out / "environment.json")
    write_text(out / FACTS, json.dumps(settings, indent=1) + "\n")


def _hours(manifests: list[Path]) -> list[float]:
    """Return the hours of train of each manifest."""
    found = ([u.duration_s or 0.0 for _, u in read_jsonl(manifest) if u.split == "train"] for manifest in manifests)
    return [round(sum(durations) / 3600, 3) for durations in found]


def _losses(
    net: Any,
    batch: Batch,
    statistics: dict[str, torch.Tensor],
    rng: np.random.Generator,
    *,
    head_only: bool,
) -> dict[str, torch.Tensor]:
    body = net.wav2vec2
    with torch.no_grad():
        hidden, _ = body.feature_projection(body.feature_extractor(batch.heard).transpose(1, 2))
        hidden = hidden.float()
        mask = augment.time_mask([hidden.shape[1]] * len(hidden), MASKED, MASK_SPAN, rng)
        hidden = torch.where(torch.from_numpy(mask)[..., None], body.masked_spec_embed.float(), hidden)
    states = [hidden := hidden + body.encoder.pos_conv_embed(hidden)]
    for layer in body.encoder.layers:
        output = layer(states[-1])
        states.append(output[0] if isinstance(output, tuple) else output)
    states[-1] = body.encoder.layer_norm(states[-1])
    matrix = statistics["turn"].float()
    distances = []
    found = {}
    for layer, wanted in zip(LAYERS, batch.layers, strict=True):
        scale = statistics[f"scale.{layer}"]
        mine = ((states[layer + 1].float() @ matrix) - statistics[f"mean.{layer}"]) / scale
        wanted = ((wanted.float() - statistics[f"mean.{layer}"]) / scale).clamp(-CLAMP, CLAMP)
        cosine = torch.nn.functional.cosine_similarity(mine, wanted, dim=-1)
        distance = torch.nn.functional.smooth_l1_loss(mine, wanted, reduction="none").mean(-1)
        distances.append((distance - torch.nn.functional.logsigmoid(cosine)).mean())
        found[f"cosine.{layer}"] = cosine.mean().detach()
    logits = net.lm_head(states[-1].detach() if head_only else states[-1]).float()
    rows = [
        row for row, labels in enumerate(batch.labels) if labels and ctc.frames_needed(labels) <= batch.labelled[row]
    ]
    of_ctc = logits.new_tensor(float("nan"))
    found["total"] = sum(distances) / len(distances)
    if rows:
        count = sum(len(batch.labels[row]) for row in rows)
        of_ctc = ctc_loss(logits[rows], [batch.labelled[row] for row in rows], [batch.labels[row] for row in rows])
        of_ctc = of_ctc.sum() / count
        found["total"] = found["total"] + CTC_WEIGHT * of_ctc
    found["ctc"] = of_ctc.detach()
    return found


def _groups(net: Any) -> list[dict[str, Any]]:
    """Return AdamW's groups: the teacher's layers and the head; what makes hidden states and positions is exact."""
    net.requires_grad_(False)
    encoder = net.wav2vec2.encoder
    for module in (*encoder.layers[1:], encoder.layer_norm, net.lm_head):
        module.requires_grad_(True)
    groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            peak = HEAD_RATE if name.startswith("lm_head") else RATE
            groups.setdefault((parameter.ndim > 1, peak), []).append(parameter)
    return [
        {"params": parameters, "peak": peak, "weight_decay": 0.01 if decays else 0.0}
        for (decays, peak), parameters in groups.items()
    ]


def _read(manifests: list[Path]) -> tuple[list[tuple[np.ndarray, float]], list[Utterance]]:
    """Return the clips of train, and those of each source with its share.

    A source is a language of a manifest, or all of one that has more than `_LANGUAGES`; its share is the root of its
    hours, so that languages of which there is little weigh more.
    """
    sources: list[tuple[np.ndarray, float]] = []
    utterances: list[Utterance] = []
    for manifest in manifests:
        found = [_at(manifest, each) for _, each in read_jsonl(manifest) if each.split == "train"]
        if not found:
            raise InputError("no clips of train", place=manifest)
        is_one = len({each.language for each in found}) > _LANGUAGES
        groups: dict[str, list[int]] = {}
        for number, utterance in enumerate(found, start=len(utterances)):
            groups.setdefault("" if is_one else str(utterance.language), []).append(number)
        utterances += found
        hours = [sum(utterances[i].duration_s or 0 for i in members) / 3600 for members in groups.values()]
        sources += [(np.array(members), math.sqrt(h)) for members, h in zip(groups.values(), hours, strict=True)]
    return sources, utterances


def _at(manifest: Path, utterance: Utterance) -> Utterance:
    return utterance.model_copy(update={"audio": str(manifest.parent / utterance.audio)})


def _labels(phones: CTCModel, utterance: Utterance) -> list[int]:
    text = phones.normaliser(utterance.text or "")
    return [] if not text or phones.alphabet.unknown(text) else list(phones.alphabet.encode(text))


def _statistics(teacher: Teacher, clips: Clips, path: Path) -> dict[str, torch.Tensor]:
    """Return how the residual stream is turned, and means and scales of the teacher's hidden states."""
    if path.is_file():
        return torch.load(path, weights_only=True)
    rng = np.random.default_rng(1)
    firsts, layers = [], [[] for _ in LAYERS]
    long = np.flatnonzero(clips.durations_s() > min(WINDOW_S) / 2)
    for number in tqdm(rng.permutation(long)[:SAMPLE], desc="sample", unit="clip"):
        first, states = hears(teacher, clips[number][None, : 10 * SAMPLE_RATE_HZ])
        firsts.append(first[0])
        for of_layer, found in zip(layers, states, strict=True):
            of_layer.append(found[0].half())
    turn = Turn.of(torch.cat(firsts))
    statistics = {"turn": turn.matrix}
    for layer, found in zip(LAYERS, layers, strict=True):
        states = torch.cat(found).float()
        centre = states.median(0).values
        statistics[f"mean.{layer}"] = centre
        statistics[f"scale.{layer}"] = 1.48 * (states - centre).abs().median(0).values + 1e-3
    with atomic_file(path) as partial:
        torch.save(statistics, partial)
    return statistics


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    typer.run(main)
