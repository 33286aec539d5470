"""Adapt speech recognition to languages that the big systems forget.

The public API, imported lazily: `import asr_adapt` does no work.

    from asr_adapt import Corpus, Model, Recipe, Transcriber, run

    recipe = Recipe(language="mdw", corpus=Corpus(root="corpora/mboshi"), model=Model(base="embedded"))
    metrics = run(recipe, "runs/mboshi")
    print(metrics.wer, metrics.wer_ci95)
    print(Transcriber.from_folder("runs/mboshi/model").transcribe("interview.m4a").text)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_adapt.api import doctor, evaluate, run
    from asr_adapt.artifacts import Metrics
    from asr_adapt.cli import run_recipe
    from asr_adapt.errors import InputError
    from asr_adapt.inference.transcriber import Transcriber
    from asr_adapt.recipe import Augment, Corpus, Model, Recipe, Report, Source, Text, Train
    from asr_adapt.records import Segment, Transcript, Utterance, Word

__version__ = "0.2.0"

_HOMES = {
    "asr_adapt.api": ("doctor", "evaluate", "run"),
    "asr_adapt.artifacts": ("Metrics",),
    "asr_adapt.cli": ("run_recipe",),
    "asr_adapt.errors": ("InputError",),
    "asr_adapt.inference.transcriber": ("Transcriber",),
    "asr_adapt.recipe": ("Augment", "Corpus", "Model", "Recipe", "Report", "Source", "Text", "Train"),
    "asr_adapt.records": ("Segment", "Transcript", "Utterance", "Word"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Augment",
    "Corpus",
    "InputError",
    "Metrics",
    "Model",
    "Recipe",
    "Report",
    "Segment",
    "Source",
    "Text",
    "Train",
    "Transcriber",
    "Transcript",
    "Utterance",
    "Word",
    "doctor",
    "evaluate",
    "run",
    "run_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'asr_adapt' has no attribute '{name}'")
    import importlib

    from asr_adapt import process_exit

    process_exit.guard_recipe_script()
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
