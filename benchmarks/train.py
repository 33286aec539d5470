"""Training speed against transformers' Trainer, configured as in the fine-tuning posts, interleaved in one run.

    python benchmarks/train.py --corpus CORPUS --language mdw --shape base

Same weights (random, with the architecture of wav2vec2-base or XLS-R 300m, or `embedded-small`), same clips,
frozen feature encoder, no dropout. Baseline: random batches of 8 clips, fp32, AdamW, 5 % time masking. Ours: batches
by length, the feature cache (filled in the first round and counted separately as overhead), and the precision that a
run would choose. Prints seconds of audio trained per second, padded over real seconds, the peak memory of each in its
own process, and the fraction of the matrix-multiplication peak in fp32 and bf16 that each reaches, measured in the
same run. FLOP are computed from the architecture for clips of 5 s; the first step of each turn is not counted.
Absolute figures drift on shared machines; compare the ratio.
"""

import json
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import peer
import torch
import typer

from asr_adapt import bundled, corpora
from asr_adapt.console import Console
from asr_adapt.corpora import prepared
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.model import encoders, head
from asr_adapt.model.base import configuration, frame_grid
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Augment, Corpus, Model, Recipe, Resolved, Text, Train
from asr_adapt.stages import train
from asr_adapt.stages.prepare import prepare
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.training import presets, schedule

LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SHAPES: dict[str, dict[str, Any]] = {
    "base": {},
    "xls-r-300m": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        **LAYER_NORM,
    },
}


def main(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language.")] = "und",
    shape: Annotated[str, typer.Option(help="Architecture: base, xls-r-300m or embedded-small.")] = "base",
    rounds: Annotated[int, typer.Option(help="Rounds; each system runs once in a round.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps per turn, after one that is not counted.")] = 12,
    minutes: Annotated[float, typer.Option(help="Minutes of the train split to use.")] = 10,
    batch_s: Annotated[float, typer.Option(help="Seconds of audio in one of our batches.")] = 72,
    precision: Annotated[
        str, typer.Option(help="Our precision: fp32 or bf16; default: what a run would choose.")
    ] = "",
    peer_precision: Annotated[str, typer.Option(help="Precision of the baseline: fp32 or bf16.")] = "fp32",
    compiled: Annotated[bool, typer.Option(help="Also measure ours with torch.compile on the transformer.")] = False,
) -> None:
    """Interleave the two and print the ratio."""
    if steps * batch_s <= minutes * 60:
        raise typer.BadParameter(
            "a turn must see each clip at least once to fill the feature cache; give more --steps"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = _recipe(corpus, language, _write_base(folder / "base", shape), minutes, batch_s, steps, precision)
        _prepare(recipe, folder / "data")
        turns: dict[str, Any] = {"peer": (_peer, peer_precision), "ours": (_ours, False)}
        if compiled:
            turns["ours, compiled"] = (_ours, True)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
        for number in range(rounds):
            for name, (turn, setting) in turns.items():
                # In its own process, so that peak memory is measured for each.
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    result = pool.apply(turn, (recipe, folder, steps, number, setting))
                found[name].append(result)
                print(f"round {number + 1} {name}: {result['audio_s_per_s']:.2f} audio-s/s", flush=True)
        _show(found, shape, recipe, peer_precision)


def _recipe(
    corpus: Path, language: str, base: Path, minutes: float, batch_s: float, steps: int, precision: str
) -> Resolved:
    spec = Model(base=str(base), freeze="feature_encoder")
    fields: dict[str, Any] = {"precision": precision or train.resolve_precision(Train())}
    conf = Train(steps=steps, batch_s=batch_s, head_steps=0, mask_time=0.1, warmup=0, **fields)
    recipe = Recipe(
        language=language,
        corpus=Corpus(root=corpus, max_train_hours=minutes / 60),
        model=spec,
        train=conf,
        augment=Augment(speed=0),
    )
    return presets.resolve(recipe, hours=minutes / 60, hidden_size=configuration(spec).hidden_size)[0]


def _write_base(folder: Path, shape: str) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    if shape == "embedded-small":
        return bundled.folder("base_small")
    torch.manual_seed(0)
    Wav2Vec2ForCTC(Wav2Vec2Config(**SHAPES[shape])).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask="feat_extract_norm" in SHAPES[shape]).save_pretrained(folder)
    return folder


def _prepare(recipe: Resolved, folder: Path) -> None:
    assert recipe.corpus.root is not None
    utterances = corpora.read(recipe.corpus.root, recipe.language)
    prepare(recipe, utterances, frame_grid(configuration(recipe.model)), folder, Console(quiet=True))


def _start(recipe: Resolved, folder: Path) -> tuple[CTCModel, SpeechSplit]:
    data = prepared.load(folder / "data", "train")
    return head.create(recipe.model, Alphabet.from_texts(data.references), recipe.language, Text(), seed=0), data


def _ours(recipe: Resolved, folder: Path, steps: int, number: int, compiled: bool) -> dict[str, float]:
    """Train as a run does; the feature cache is filled in the first round."""
    adapted, data = _start(recipe, folder)
    if compiled:
        for layer in encoders.of(adapted.net).layers:
            layer.compile(dynamic=True)
    out = folder / "ours"
    for old in ("checkpoints", "train_log.jsonl"):
        shutil.rmtree(out / old) if (out / old).is_dir() else (out / old).unlink(missing_ok=True)
    out.mkdir(exist_ok=True)
    few = data.select([0, 1])
    conf = recipe.train.model_copy(update={"steps": steps + 1, "seed": number + 1, "eval_steps": steps + 1})
    train._LOG_STEPS = 1
    began = time.perf_counter()
    train.train(recipe.model_copy(update={"train": conf}), adapted, data, few, out, Console(quiet=True))
    whole_s = time.perf_counter() - began
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    counted = [line for line in log if "audio_s_per_s" in line][1:]
    trained_s = sum(line["elapsed_s"] for line in counted)
    durations = [u.duration_s or 0.0 for u in data.utterances]
    batches = [b for of_step in schedule.plan(durations, conf, 1, steps + 1) for b in of_step]
    return {
        "audio_s_per_s": sum(line["elapsed_s"] * line["audio_s_per_s"] for line in counted) / trained_s,
        "padding": _padding([[durations[i] for i in batch] for batch in batches]),
        "overhead_s": whole_s - trained_s,
        "peak_gb": _peak_gb(),
        **_matmul_peaks(),
    }


def _peer(recipe: Resolved, folder: Path, steps: int, number: int, precision: str) -> dict[str, float]:
    adapted, data = _start(recipe, folder)
    batches: list[list[float]] = []
    times: list[float] = []

    def note(step: int, durations_s: list[float]) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter())
        batches.append(durations_s)

    began = time.perf_counter()
    peer.fine_tune(adapted, data, steps + 1, folder / "peer", note, seed=number + 1, bf16=precision == "bf16")
    counted = batches[1:]
    trained_s = times[-1] - times[0]
    return {
        "audio_s_per_s": sum(map(sum, counted)) / trained_s,
        "padding": _padding(counted),
        "overhead_s": time.perf_counter() - began - trained_s,
        "peak_gb": _peak_gb(),
        **_matmul_peaks(),
    }


def _padding(batches: list[list[float]]) -> float:
    """Return padded over real seconds."""
    return sum(len(batch) * max(batch) for batch in batches) / sum(map(sum, batches))


def _peak_gb() -> float:
    """Return this process's peak memory, or the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _matmul_peaks(size: int = 2048, times: int = 4) -> dict[str, float]:
    """Return the peak of square matrix multiplications in GFLOP/s; bf16 only where the processor supports it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peaks = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        peaks[name] = float("nan")
        if name == "bf16" and train.resolve_precision(Train()) == "fp32":
            continue
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            torch.mm(left, right)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        peaks[name] = 2 * size**3 / min(seconds) / 1e9
    return peaks


def _gflop(config: Any, *, convolutions: bool, clip_s: float = 5.0) -> float:
    """Return GFLOP of training per second of audio: one forward pass, and a backward pass of twice the cost.

    wav2vec2-base: 28.3, and 4.9 more with the frozen convolutions; XLS-R 300m: 96.6.
    """
    rate, below, encoder = 16_000.0, 1, 0.0
    for size, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
        rate /= stride
        encoder += 2 * rate * size * below * kernel
        below = size
    hidden, inner = config.hidden_size, config.intermediate_size
    a_layer = 8 * hidden**2 + 4 * hidden * inner + 4 * hidden * rate * clip_s
    position = 2 * hidden**2 // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    a_frame = config.num_hidden_layers * a_layer + position + 2 * below * hidden
    return (3 * rate * a_frame + (encoder if convolutions else 0)) / 1e9


def _show(found: dict[str, list[dict[str, float]]], shape: str, recipe: Resolved, peer_precision: str) -> None:
    def middle(name: str, field: str) -> float:
        return statistics.median(turn[field] for turn in found[name])

    config = configuration(recipe.model)
    ours = [name for name in found if name != "peer"]
    precisions = {"peer": peer_precision} | dict.fromkeys(ours, str(recipe.train.precision))
    rows = []
    for name in found:
        work = _gflop(config, convolutions=name == "peer") * middle(name, "audio_s_per_s")
        shares = [f"{work / middle(name, kind):.0%}" if middle(name, kind) > 0 else "-" for kind in ("fp32", "bf16")]
        rows.append(
            (
                f"{name}, {precisions[name]}",
                f"{middle(name, 'audio_s_per_s'):.2f}",
                f"{middle(name, 'padding'):.3f}",
                f"{middle(name, 'peak_gb'):.2f}",
                *shares,
                f"{middle(name, 'overhead_s'):.0f}",
            )
        )
    header = ("", "audio-s/s", "padded/real", "peak GB", "of fp32 peak", "of bf16 peak", "overhead s")
    Console().table(f"{shape}, {torch.get_num_threads()} threads, medians", header, rows)
    peaks = {kind: middle("ours", kind) for kind in ("fp32", "bf16")}
    shown = [f"{peak:.0f} GFLOP/s in {kind}" for kind, peak in peaks.items() if peak > 0]
    print(f"matrix multiplication: {', '.join(shown)}")
    for name in ours:
        ratios = [o["audio_s_per_s"] / p["audio_s_per_s"] for o, p in zip(found[name], found["peer"], strict=True)]
        print(f"{name} / peer: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    typer.run(main)
