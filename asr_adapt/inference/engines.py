"""Engines: runtimes other than PyTorch on the processor, whose files are made once and kept beside the model."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from asr_adapt.artifacts import Digests, EngineMeasurement, EngineMeasurements, check_digests
from asr_adapt.errors import InputError
from asr_adapt.inference import onnx_graphs
from asr_adapt.storage import atomic_folder, digest_of_folder
from asr_adapt.telemetry import import_onnxruntime, import_openvino

if TYPE_CHECKING:
    from asr_adapt.model.ctc_model import CTCModel
    from asr_adapt.model.mixed_precision import Precision

TORCH, AUTO = "torch", "auto"
NAMES = (TORCH, "onnx", "onnx-int8", "openvino")
WORSE_BY = 0.003
"""By how much an engine's WER on dev may exceed PyTorch's for `auto` to take it."""

_FOLDER, _GRAPH, _MEASURED = "engines", "model.onnx", "measured.json"
_DECISIVE = ("config.json", "processor_config.json", "*.safetensors")

_REMAKE = "Delete its folder, and it is made anew."
_PROBE_SAMPLES = 8_000  # half a second of silence shows whether a graph is the model's

LogProbs = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""float32 (num_samples,) each, 16 kHz, become log_probs, float32 (frames, vocab) each. Safe from several threads."""


def resolved(folder: Path, name: str) -> str:
    """Return the engine that a name selects.

    `auto` is the fastest that was measured on these weights (`asr-adapt export --corpus`) and runs here, of those
    whose WER on dev is at most `WORSE_BY` above PyTorch's; without a measurement, and where there is a GPU, it is
    PyTorch.

    Args:
        folder: The model's.
        name: One of `NAMES`, or `auto`.

    Raises:
        InputError: no engine of that name, or what was measured is damaged.
    """
    if name not in (*NAMES, AUTO):
        raise InputError(f"no engine '{name}'", place="--engine", remedy=f"Known: {', '.join((*NAMES, AUTO))}.")
    if name != AUTO:
        return name
    known = measured(folder)
    if TORCH not in known or _has_gpu():
        return TORCH
    limit = known[TORCH].wer + WORSE_BY
    good = [engine for engine, found in known.items() if found.wer <= limit and runs_here(engine)]
    return max([TORCH, *good], key=lambda engine: known[engine].rtfx)


def runs_here(name: str) -> bool:
    """Whether what an engine needs to run is installed."""
    return name != "openvino" or importlib.util.find_spec("openvino") is not None


def precision(name: str, folder: Path) -> "Precision":
    """Return what an engine multiplies in on this processor.

    PyTorch and OpenVINO: in the precision that they were measured in on dev, where that measurement counts, so that
    what was found good is what runs; else in the faster one. The others in fp32.

    Args:
        name: One of `NAMES`.
        folder: The model's.
    """
    import torch

    from asr_adapt.model import mixed_precision

    if name not in (TORCH, "openvino"):
        return "fp32"
    try:
        kept = _kept(folder)
    except InputError:  # `auto` reports it; an engine that was named needs no measurement
        kept = None
    return mixed_precision.recorded_or_fastest(kept.precision if kept else None, torch.device("cpu"))


def measured(folder: Path) -> dict[str, EngineMeasurement]:
    """Return what was measured on the present weights of a model; nothing where they have changed.

    Nor where one of the processors has instructions for bf16 and the other has not: PyTorch and OpenVINO may multiply
    in something else there, so that error rates and speeds would differ. Which precision is faster is not measured
    again: two of similar speed would alternate, and invalidate the measurement each time.

    Raises:
        InputError: the file is damaged.
    """
    kept = _kept(folder)
    return {name: found for name, found in kept.dev.items() if name in NAMES} if kept else {}


def keep_measured(folder: Path, found: Mapping[str, EngineMeasurement], multiplied_in: "Precision") -> Path:
    """Record measurements of engines on dev, by which `auto` chooses from then on. Returns the file.

    Args:
        folder: The model's.
        found: Of each engine.
        multiplied_in: What PyTorch and OpenVINO multiplied in.
    """
    path = folder / _FOLDER / _MEASURED
    measurements = EngineMeasurements(
        model=key(folder), precision=multiplied_in, processor_has_bf16=_processor_has_bf16(), dev=dict(found)
    )
    with _writing(path.parent):
        measurements.write_file(path)
    return path


def _kept(folder: Path) -> EngineMeasurements | None:
    """Return what `measured.json` holds, where it is of these weights and of a processor like this one."""
    path = folder / _FOLDER / _MEASURED
    if not path.is_file():
        return None
    found = EngineMeasurements.read_file(path, "Delete it.")
    # Before `processor_has_bf16` was recorded, bf16 was chosen wherever the processor had it.
    had_bf16 = found.precision == "bf16" if found.processor_has_bf16 is None else found.processor_has_bf16
    return found if found.model == key(folder) and had_bf16 == _processor_has_bf16() else None


def load(model: "CTCModel", folder: Path, name: str, openvino_in: "Precision | None" = None) -> LogProbs:
    """Return what runs a model instead of PyTorch, on the processor, with as many threads as PyTorch would take.

    It reads clip by clip: alone, padding cannot change the output, and int8's scale, which is one for all that is
    multiplied at once, comes from the clip itself.

    Args:
        model: The folder's, on the processor.
        folder: Where the engine is kept, and made where it is not there.
        name: One of `NAMES`, not PyTorch's.
        openvino_in: What OpenVINO multiplies in; None: see `precision`.

    Raises:
        InputError: it cannot be made or run here; `made` says why.
    """
    import torch

    if not runs_here(name):
        raise InputError(f"{name} is missing", place="--engine", remedy=f"pip install 'asr-adapt[{name}]'")
    graph = made(model, folder, name)
    check_digests(graph.parent, _REMAKE)
    onnx_graphs.refuse_data_outside(graph, _REMAKE)
    try:
        if name == "openvino":
            log_probs = _openvino(graph, torch.get_num_threads(), openvino_in or precision(name, folder))
        else:
            log_probs = _onnxruntime(graph, torch.get_num_threads())
        (probe,) = log_probs([np.zeros(_PROBE_SAMPLES + model.shortest_clip, np.float32)])
    except Exception as error:  # their exceptions have no common base class
        raise InputError(f"cannot be loaded ({error})", place=graph, remedy=_REMAKE) from error
    frames = model.grid.num_frames(_PROBE_SAMPLES + model.shortest_clip)
    if probe.shape != (frames, len(model.alphabet)) or np.isnan(probe).any():
        raise InputError(
            f"another model's: its output has the shape {probe.shape}, not {(frames, len(model.alphabet))}, or NaN",
            place=graph,
            remedy=_REMAKE,
        )
    return log_probs


def made(model: "CTCModel", folder: Path, name: str) -> Path:
    """Return the ONNX graph that an engine runs, which is made where it is not there.

    Args:
        model: The folder's, in evaluation mode, on the processor.
        folder: The model's; the graph is kept in it, named by the weights.
        name: `onnx` or `openvino`, which run the same graph; `onnx-int8`, whose matrix products with weights are in
            8 bits (`graphs`).

    Raises:
        InputError: what makes it is not installed, or the folder cannot be written.
    """
    place = folder / _FOLDER / f"{'int8' if name == 'onnx-int8' else 'fp32'}-{key(folder)}"
    if (place / _GRAPH).is_file():
        return place / _GRAPH
    missing = [package for package in onnx_graphs.NEEDS if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"{name} is not made yet, and {missing[0]}, which makes it, is missing", place="--engine",
                         remedy="pip install 'asr-adapt[onnx]'")  # fmt: skip
    with _writing(place.parent), FileLock(place.parent / ".lock"):
        if not place.exists():
            write = onnx_graphs.write_in_8_bits if name == "onnx-int8" else onnx_graphs.write
            with atomic_folder(place) as partial:
                write(model, partial / _GRAPH)
                Digests.of(partial, [path.name for path in partial.iterdir() if path.is_file()]).write(partial)
    return place / _GRAPH


def key(folder: Path) -> str:
    """Return what tells a model's weights and the form of the graphs from others: 16 hexadecimal digits."""
    return digest_of_folder(folder, _DECISIVE, str(onnx_graphs.FORMAT))[:16]


def _onnxruntime(graph: Path, threads: int) -> LogProbs:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(graph),
        options,
        providers=["CPUExecutionProvider"],
        # The sum and its norm in one kernel take 6 ms for a second of audio of wav2vec2-base, in two 1.3 ms.
        disabled_optimizers=["SkipLayerNormFusion"],
    )

    def log_probs(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [session.run(None, {"waveform": _batch_of_one(w)})[0][0] for w in waveforms]

    return log_probs


def _openvino(graph: Path, threads: int, multiplies_in: "Precision") -> LogProbs:
    openvino = import_openvino()
    core: Any = openvino.Core()
    hint = {"fp32": "f32", "bf16": "bf16"}[multiplies_in]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)

    def log_probs(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        request = compiled.create_infer_request()  # each caller its own: a request is not for several threads
        return [request.infer([_batch_of_one(w)])[0][0].copy() for w in waveforms]

    return log_probs


def _batch_of_one(waveform: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(waveform, np.float32)[None]


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    """Make the folder of engines, and turn a disk that refuses into one line."""
    try:
        home.mkdir(exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"engines are kept here, and nothing can be written ({error.strerror or error})",
            place=home,
            remedy="Copy the model to where you may write, or take --engine torch.",
        ) from error


def _processor_has_bf16() -> bool:
    import torch

    from asr_adapt.model import mixed_precision

    return mixed_precision.has_bf16(torch.device("cpu"))


def _has_gpu() -> bool:
    from asr_adapt.model.device import best_device

    return best_device().type == "cuda"
