"""Which stages of a run folder are done, and with what inputs."""

import json
import shutil
from pathlib import Path

from asr_adapt import publish
from asr_adapt.files import write_whole
from asr_adapt.utterance import SPLITS

_OUTPUTS = {
    "prepare": ("data/doctor.json", *(f"data/{split}.arrow" for split in SPLITS)),
    "train": ("model/asr_adapt.json", "model/model.safetensors"),
    "evaluate": ("metrics.json", "hypotheses.jsonl"),
    "report": (publish.PAGE, f"model/{publish.CARD}"),
}
_ORDER = tuple(_OUTPUTS)


class Stages:
    """What `stages.json` of a run folder says; `done` looks at what is there, too."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / "stages.json"
        self._stages: dict[str, dict] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def done(self, stage: str, inputs: str) -> bool:
        """Whether the stage ended, had these inputs, and left what it makes."""
        there = all((self._out / name).exists() for name in _OUTPUTS[stage])
        return there and self.begun(stage, inputs) and self._stages[stage]["finished"]

    def begun(self, stage: str, inputs: str) -> bool:
        """Whether the stage was started with these inputs."""
        return self._stages.get(stage, {}).get("inputs") == inputs

    def known(self, stage: str) -> bool:
        """Whether the stage was ever started here."""
        return stage in self._stages

    def begin(self, stage: str, inputs: str, remove: tuple[str, ...] = ()) -> None:
        """Note that a stage starts afresh: later ones are no longer done, and what they left behind is removed."""
        earlier = {name: self._stages[name] for name in _ORDER[: _ORDER.index(stage)] if name in self._stages}
        self._write(earlier | {stage: {"inputs": inputs, "finished": False}})
        outdated = [name for later in _ORDER[_ORDER.index(stage) :] for name in _OUTPUTS[later]]
        for name in (*remove, *outdated):
            path = self._out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def finish(self, stage: str) -> None:
        """Note that a stage is done."""
        self._write(self._stages | {stage: self._stages[stage] | {"finished": True}})

    def _write(self, stages: dict[str, dict]) -> None:
        self._stages = stages
        write_whole(self._path, json.dumps(stages, indent=1))
