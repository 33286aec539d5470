"""Libraries that report their use to their makers when imported; here they are imported with that turned off."""

import os
import sys
from types import ModuleType


def import_onnxruntime() -> ModuleType:
    """Return onnxruntime. From 1.32 on it sends events to Microsoft unless this variable is set before the import."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_openvino() -> ModuleType:
    """Return openvino. Its import sends events to Google Analytics where `openvino_telemetry` is installed."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def import_ray() -> ModuleType:
    """Return ray. A cluster that it starts sends statistics of its use unless this variable is set before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.exceptions

    return ray
