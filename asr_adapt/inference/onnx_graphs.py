"""Graphs: a model written as ONNX, in float32 or with its matrix products in 8 bits.

A graph reads `waveform`, float32 (1, num_samples), 16 kHz, and gives `log_probs`, float32 (1, frames, vocab).
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_adapt.errors import InputError
from asr_adapt.telemetry import import_onnxruntime

if TYPE_CHECKING:
    import torch

    from asr_adapt.model.ctc_model import CTCModel
    from asr_adapt.model.encoders import Net

    # A module, where it is, and what makes another of it.
    _Replaced = tuple[torch.nn.Module, str, Any, Callable[[Any], torch.nn.Module]]

NEEDS = ("onnx", "onnxscript")
"""Packages that write graphs, and that running one does not need."""
FORMAT = 2
"""Of the graphs: another number, and those that were made before are not taken."""


def write(model: "CTCModel", path: Path) -> None:
    """Write a model as a graph; its weights are beside it, since one file holds at most 2 GB.

    Args:
        model: In evaluation mode, on the processor.
        path: Of the graph, in a folder that is there.
    """
    with _quiet():
        _export(model, path, on_windows=False)


# Fields of onnx.proto that lead to tensors, by message: field number → message.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}


def refuse_data_outside(path: Path, remedy: str) -> None:
    """Refuse a graph whose tensors are in files outside its own folder.

    ONNX keeps large tensors in other files, whose paths are in the graph (`TensorProto.external_data`).

    Raises:
        InputError: a path is absolute or leads elsewhere, is a link, or the graph is damaged.
    """
    try:
        names = {bytes(value).decode() for value in _external_data(memoryview(path.read_bytes()), "model", 0)}
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise InputError(f"damaged: no ONNX graph ({error})", place=path, remedy=remedy) from error
    for name in sorted(names):
        if name != Path(name).name or "\\" in name or name in {"", ".", ".."} or (path.parent / name).is_symlink():
            raise InputError(f"refers to data in '{name}', outside its folder", place=path, remedy=remedy)


def _external_data(message: memoryview, kind: str, depth: int) -> Iterator[memoryview]:
    """Yield the paths in a serialised message; a small reader of protocol buffers, where onnx is not installed."""
    if depth > 100:
        raise ValueError("too deep")
    place, key, location = 0, b"", None
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, place = _varint(message, place)
        elif wire in {1, 5}:
            place += 8 if wire == 1 else 4
        elif wire == 2:
            length, place = _varint(message, place)
            content = message[place : place + length]
            place += length
            if kind == "entry":
                key, location = (bytes(content), location) if number == 1 else (key, content)
            elif number in _FIELDS[kind]:
                yield from _external_data(content, _FIELDS[kind][number], depth + 1)
        else:
            raise ValueError(f"wire type {wire}")
        if place > len(message):
            raise ValueError("truncated")
    if kind == "entry" and key == b"location" and location is not None:
        yield location


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number is too long")


def write_in_8_bits(model: "CTCModel", path: Path) -> None:
    """Write a model as a graph whose products with weights are in 8 bits, the feature encoder's convolutions too.

    Not those that make exact positions (`Encoder.never_trained`): with them in 8 bits nothing is recognised.

    Input and weights are as in `write`.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch, _quiet():
        whole = Path(scratch) / path.name
        _export(model, whole, on_windows=True)
        _quantise(whole, path)


def _export(model: "CTCModel", path: Path, *, on_windows: bool) -> None:
    import torch

    from asr_adapt.model import forward

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.net

        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return torch.log_softmax(forward.alone(model, waveform[0])[None], dim=-1)

    example = torch.zeros(1, 2 * 16_000)
    with torch.no_grad(), _written_out(model.net, on_windows):
        torch.onnx.export(
            Whole().eval(),
            (example,),
            path,
            dynamo=True,
            input_names=["waveform"],
            output_names=["log_probs"],
            # At least two frames: one is a size that export would take for a constant; the graph reads one as well.
            dynamic_shapes=({1: torch.export.Dim("samples", min=2 * model.shortest_clip)},),
            external_data=True,
            verbose=False,
        )


@contextmanager
def _written_out(net: "Net", on_windows: bool) -> Iterator[None]:
    """Make a model attend by plain products in the block: the graph of PyTorch's kernel tests for masks and NaN.

    Where `on_windows`, have convolutions be products too (`_convolutions`), and products that must stay exact be
    convolutions, which are not quantised.
    """
    from asr_adapt.model import encoders

    places = [*_convolutions(net), *_exact_products(net)] if on_windows else []
    with encoders.plain_attention(net):
        for parent, name, module, replacement in places:
            setattr(parent, name, replacement(module))
        try:
            yield
        finally:
            for parent, name, module, _ in places:
                setattr(parent, name, module)


def _exact_products(net: "Net") -> "Iterator[_Replaced]":
    """Yield the products that make positions."""
    import torch

    from asr_adapt.model import encoders

    for part in encoders.of(net).never_trained:
        for parent in part.modules() if isinstance(part, torch.nn.Module) else ():
            for name, child in parent.named_children():
                if isinstance(child, torch.nn.Linear):
                    yield parent, name, child, _pointwise


def _pointwise(linear: "torch.nn.Linear") -> "torch.nn.Module":
    """Return what a product does, (batch, frames, in) to (batch, frames, out), as a convolution."""
    import torch

    class Pointwise(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(linear.weight.detach()[..., None])
            self.bias = torch.nn.Parameter(linear.bias.detach())

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.conv1d(states.transpose(1, 2), self.weight, self.bias).transpose(1, 2)

    return Pointwise()


def _convolutions(net: "Net") -> "Iterator[_Replaced]":
    """Yield the convolutions, with their place, whose windows are worth a product: unpadded, of all channels.

    Not those of single frames: the embedded base has one, which reads magnitudes of many orders (ten minutes of
    Kichwa, dev CER .139: with it in 8 bits .149).
    """
    import torch

    for parent in net.modules():
        for name, child in parent.named_children():
            if not isinstance(child, torch.nn.Conv1d) or any(child.padding):
                continue
            if child.groups == 1 and child.in_channels > 1 and child.kernel_size != (1,):
                yield parent, name, child, _windows


def _windows(convolution: "torch.nn.Conv1d") -> "torch.nn.Module":
    """Return what a convolution does, (batch, channels, time) to the same, as one product over windows side by side.

    Products can be quantised; ONNX Runtime has no convolution in 8 bits that beats its own in float32. In float32
    the product is the slower one (a twentieth of all of wav2vec2-base).
    """
    import torch

    (width,), (stride,) = convolution.kernel_size, convolution.stride
    out, bias = convolution.out_channels, convolution.bias

    class Windows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(width * convolution.in_channels, out, bias=bias is not None)
            self.linear.weight = torch.nn.Parameter(convolution.weight.detach().permute(0, 2, 1).reshape(out, -1))
            if bias is not None:
                self.linear.bias = torch.nn.Parameter(bias.detach())

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            frames = hidden.transpose(1, 2)  # (B, T, C)
            last = frames.shape[1] - width
            slices = [frames[:, at : last + at + 1 : stride] for at in range(width)]
            return self.linear(torch.cat(slices, dim=-1)).transpose(1, 2)

    return Windows()


def _quantise(source: Path, path: Path) -> None:
    import_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        # 7 bits: without VNNI, products of 8 by 8 bits saturate in the 16 that they are added up in.
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
