"""Runs and models of format 1, unpacked where a test can use them (`tests/data/format_1.tar.xz`)."""

import hashlib
import json
import tarfile
from pathlib import Path

from conftest import TESTS


def unpack(folder: Path) -> Path:
    """Unpack runs and models into a folder, with their paths as they would be, had they been made there.

    A run's fingerprint holds where its base model lies, so it is computed for the new place, by format 1's rule,
    which must give what was written for the old place.
    """
    with tarfile.open(TESTS / "data" / "format_1.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    root = folder / "format_1"
    settings = json.loads((root / "settings.json").read_text())
    for path in root.rglob("*"):
        if path.suffix in {".toml", ".json", ".jsonl", ".md"} and "@ROOT@" in path.read_text():
            path.write_text(path.read_text().replace("@ROOT@", str(root)))
    for name, (model, train) in {n: (s["model"], s["train"]) for n, s in settings.items()}.items():
        path = root / name / "stages.json"
        stages = json.loads(path.read_text())
        prepared_inputs = stages["prepare"]["inputs"]
        there = _fingerprint(prepared_inputs, model | {"base": "/tmp/fx/format_1/base"}, train, [])
        assert stages["train"]["inputs"] == there
        here = _fingerprint(prepared_inputs, model | {"base": str(root / "base")}, train, [])
        shown = _fingerprint(here, {"audio": True, "names": False}, ["made for tests"])
        for stage, inputs in (("train", here), ("evaluate", here), ("report", shown)):
            if stage in stages:
                stages[stage]["inputs"] = inputs
        path.write_text(json.dumps(stages))
    return root


def _fingerprint(*parts: object) -> str:
    """As format 1 has it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
