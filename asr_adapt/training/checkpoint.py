"""Training state that survives: written to a temporary name, synced, renamed; verified before it is trusted."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from asr_adapt.artifacts import Artifact
from asr_adapt.errors import InputError
from asr_adapt.storage import atomic_folder, disk_full_as_error, surviving

_TENSORS = "state.safetensors"
_META = "meta.json"
_KEPT = 2


class _Meta(Artifact):
    """`meta.json` of a checkpoint."""

    step: int = Field(ge=0)
    sha256: str
    """of the tensors"""
    meta: dict[str, bool | int | float | str | dict[str, float] | None]


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` optimiser steps."""

    step: int
    tensors: dict[str, torch.Tensor]
    meta: dict[str, Any]


def save(folder: Path, name: str, step: int, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> Path:
    """Write a checkpoint folder `name` inside `folder`: `load` finds the new one or the old one, whatever kills us.

    Args:
        folder: The run's `checkpoints/`.
        name: Its name there; one of the same name is replaced.
        step: Optimiser steps done.
        tensors: What to keep; moved to the CPU.
        meta: Plain values that go with it.

    Raises:
        DiskFull: there is no room; the checkpoints that were there still are.
    """
    final = folder / name
    with (
        disk_full_as_error(final, "Make room; the same command resumes from the last one."),
        atomic_folder(final, sync=True) as partial,
    ):
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, partial / _TENSORS)
        digest = _sha256(partial / _TENSORS)
        card = json.dumps({"step": step, "sha256": digest, "meta": dict(meta)})
        (partial / _META).write_text(card, encoding="utf-8")
    return final


def save_step(folder: Path, step: int, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step, then remove all but the newest two."""
    save(folder, _name(step), step, tensors, meta)
    for old in _steps(folder)[_KEPT:]:
        shutil.rmtree(old)


def load(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        InputError: it is missing, truncated or changed.
    """
    path = surviving(path)
    saved = _Meta.read_file(path / _META, "Delete the folder.")
    try:
        if _sha256(path / _TENSORS) != saved.sha256:
            raise InputError("the checkpoint's hash is not that of its file", place=path / _TENSORS)
        return Checkpoint(saved.step, load_file(path / _TENSORS), saved.meta)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"no whole checkpoint ({error})", place=path) from error


def load_step(folder: Path, step: int) -> Checkpoint:
    """Read and verify the checkpoint of a step.

    Raises:
        InputError: it is missing, truncated or changed.
    """
    return load(folder / _name(step))


def newest(folder: Path, like: Mapping[str, Any] | None = None) -> tuple[Checkpoint | None, list[InputError]]:
    """Return the newest checkpoint that is whole, and what is wrong with those that were passed over.

    Args:
        folder: The run's `checkpoints/`.
        like: Names that its `meta` must have, each with a value of the right type.
    """
    problems: list[InputError] = []
    for path in _steps(folder):
        try:
            found = load(path)
            for name, value in (like or {}).items():
                if not isinstance(found.meta.get(name), _types_like(value)):
                    shown = repr(found.meta.get(name))[:100]
                    raise InputError(f"no whole checkpoint ('{name}' is {shown})", place=path / _META)
            return found, problems
        except InputError as error:
            problems.append(error)
    return None, problems


def _types_like(value: object) -> tuple[type, ...]:
    return (int, float) if isinstance(value, float) else (type(value),)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _steps(folder: Path) -> list[Path]:
    """Return the step checkpoints, the newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
