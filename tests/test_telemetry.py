"""Libraries that report their use are imported with that turned off, and nothing imports them otherwise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "asr_adapt"


def test_onnx_runtime_opens_no_telemetry_session(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "from asr_adapt.telemetry import import_onnxruntime; import_onnxruntime()"
    subprocess.run([sys.executable, "-c", code], env={**environment, "TMPDIR": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir()), "its session file is what it keeps for the next report"


def test_ray_sends_no_statistics_of_its_use() -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    code = """
from asr_adapt.telemetry import import_ray
import_ray()
from ray._common.usage import usage_lib
print(usage_lib.usage_stats_enabled())
"""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_USAGE_STATS_ENABLED"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout == "False\n"


def test_only_one_module_imports_them() -> None:
    importing = re.compile(r"^\s*(import|from) (onnxruntime|openvino|ray)\b", re.MULTILINE)
    texts = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    found = {name for name, text in texts.items() if importing.search(text)}
    assert found == {"telemetry.py", "onnx_graphs.py"}
    assert "import_onnxruntime()\n    from onnxruntime.quantization" in texts["onnx_graphs.py"]
