"""ONNX graphs from elsewhere: data outside their folder, damage, another model's shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_runs import unpack

from asr_adapt.errors import InputError
from asr_adapt.inference import engines, onnx_graphs
from asr_adapt.model.ctc_model import CTCModel

onnx = pytest.importorskip("onnx")


def graph_with_data_in(location: str, *, inside: str = "initializer") -> Any:
    """Return a model with one tensor in another file: of the graph, of a node's attribute, or of a nested graph."""
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    nodes, initializers = [onnx.helper.make_node("Identity", ["waveform"], ["log_probs"])], []
    if inside == "initializer":
        initializers = [tensor]
    elif inside == "attribute":
        nodes.append(onnx.helper.make_node("Constant", [], ["c"], value=tensor))
    else:
        branch = onnx.helper.make_graph([], "branch", [], [], [tensor])
        nodes.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, None]) for n in ("waveform", "log_probs")
    ]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", values[:1], values[1:], initializers))


@pytest.mark.parametrize("inside", ["initializer", "attribute", "nested"])
@pytest.mark.parametrize("location", ["/etc/passwd", "../model.safetensors", "a/b", "..", "", "a\\b"])
def test_data_outside_the_folder_is_refused(location: str, inside: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph_with_data_in(location, inside=inside).SerializeToString())
    with pytest.raises(InputError, match="outside its folder"):
        onnx_graphs.refuse_data_outside(path, "")


def test_data_beside_the_graph_is_taken_unless_it_is_a_link(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph_with_data_in("model.onnx.data").SerializeToString())
    (tmp_path / "model.onnx.data").write_bytes(np.ones(1, np.float32).tobytes())
    onnx_graphs.refuse_data_outside(path, "")
    (tmp_path / "model.onnx.data").unlink()
    (tmp_path / "model.onnx.data").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="outside its folder"):
        onnx_graphs.refuse_data_outside(path, "")


@pytest.mark.parametrize("content", [b"\xff" * 100, b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", b"\x08"])
def test_a_damaged_graph_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx: damaged"):
        onnx_graphs.refuse_data_outside(tmp_path / "model.onnx", "")


def test_a_graph_of_another_shape_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = unpack(tmp_path) / "model_with_ngram"
    place = folder / "engines" / f"fp32-{engines.key(folder)}"
    place.mkdir(parents=True)
    nodes = [onnx.helper.make_node("Unsqueeze", ["waveform", "axis"], ["log_probs"])]
    axis = onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [2])
    values = [
        onnx.helper.make_tensor_value_info("waveform", onnx.TensorProto.FLOAT, [1, None]),
        onnx.helper.make_tensor_value_info("log_probs", onnx.TensorProto.FLOAT, [1, None, 1]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], [axis])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (place / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="another model's: its output has the shape"):
        engines.load(CTCModel.load(folder), folder, "onnx")
