"""Run state: which stages of a run folder are done, and with which inputs."""

import shutil
from pathlib import Path

from asr_adapt.artifacts import RunStages, StageState
from asr_adapt.records import SPLITS
from asr_adapt.report import write

_OUTPUTS = {
    "prepare": ("data/doctor.json", *(f"data/{split}.arrow" for split in SPLITS)),
    "pretrain": ("pretrain/encoder.safetensors",),
    "train": ("model/asr_adapt.json", "model/model.safetensors"),
    "self-train": ("rounds/self_training.json",),
    "evaluate": ("metrics.json", "hypotheses.jsonl"),
    "report": (write.PAGE, f"model/{write.MODEL_CARD}"),
}
_ORDER = tuple(_OUTPUTS)
_OPTIONAL = ("pretrain", "self-train")


def is_finished(folder: Path) -> bool:
    """Whether every stage of a run folder was finished with the inputs that it was last started with.

    Raises:
        InputError: `stages.json` is damaged.
    """
    return RunState(folder).are_all_finished() if folder.is_dir() else False


class RunState:
    """The state of a run folder: `stages.json`, and whether the outputs of each stage are there.

    Raises:
        InputError: `stages.json` is damaged.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / "stages.json"
        remedy = "Delete it and run again; every stage is repeated."
        self._stages = RunStages.read_file(self._path, remedy).stages if self._path.exists() else {}

    def is_done(self, stage: str, inputs: str) -> bool:
        """Whether the stage finished with these inputs, and its outputs are there."""
        outputs_exist = all((self._out / name).exists() for name in _OUTPUTS[stage])
        return outputs_exist and self.is_begun(stage, inputs) and self._stages[stage].finished

    def are_all_finished(self) -> bool:
        """Whether each stage is finished and its outputs are there."""
        wanted = [stage for stage in _ORDER if stage not in _OPTIONAL or stage in self._stages]
        return all(stage in self._stages and self.is_done(stage, self._stages[stage].inputs) for stage in wanted)

    def is_begun(self, stage: str, inputs: str) -> bool:
        """Whether the stage was started with these inputs."""
        return stage in self._stages and self._stages[stage].inputs == inputs

    def was_started(self, stage: str) -> bool:
        """Whether the stage was ever started here."""
        return stage in self._stages

    def begin(self, stage: str, inputs: str, remove: tuple[str, ...] = ()) -> None:
        """Record that a stage is restarted: later stages are no longer done, and their outputs are removed."""
        earlier = {name: self._stages[name] for name in _ORDER[: _ORDER.index(stage)] if name in self._stages}
        self._write(earlier | {stage: StageState(inputs=inputs, finished=False)})
        outdated = [name for later in _ORDER[_ORDER.index(stage) :] for name in _OUTPUTS[later]]
        for name in (*remove, *outdated):
            path = self._out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def forget(self, stage: str) -> None:
        """Record that a stage is no longer wanted; later stages are no longer done."""
        self._write({name: state for name, state in self._stages.items() if _ORDER.index(name) < _ORDER.index(stage)})

    def finish(self, stage: str) -> None:
        """Record that a stage is done."""
        self._write(self._stages | {stage: StageState(inputs=self._stages[stage].inputs, finished=True)})

    def _write(self, stages: dict[str, StageState]) -> None:
        self._stages = stages
        RunStages(stages=stages).write_file(self._path)
