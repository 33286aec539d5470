"""The embedded base model's fifth round: taught by Whisper's encoder, on people in more languages.

    python recipes/pretrain/fifth_round.py --corpus.root spoken/manifest.jsonl \
        --corpora '[{"root": "people/manifest.jsonl"}, {"root": "pool/manifest.jsonl"}]' --targets targets

Half of every step is synthesised speech (`corpus`), so that rare phones are not forgotten; the other half is drawn
from the `corpora`. All of it must be clean, since it is degraded as it is read (`speak.py --clean`, `recordings.py
--copies 1`), and have targets (`targets.py`). Clips without a text have the teacher alone. See `distil.py` for the
losses.

The run folder is that of a recipe without an evaluation; `models/` has the model after every validation. The weights
of the last step are `model/`: validation on phones says little of what a base is worth after adaptation
(docs/log.md).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from distil import Clips, distil, usable, without_heads
from fourth_round import RECIPE as FOURTH
from targets import Targets, keys

from asr_adapt import Corpus, Model, Recipe, cli, corpora, recipe_options
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.errors import InputError
from asr_adapt.model import base
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import fingerprint, read_recipe, write_recipe
from asr_adapt.records import Utterance
from asr_adapt.storage import content_digests
from asr_adapt.training import presets, schedule
from asr_adapt.workflows.run import write_environment

RECIPE = FOURTH.model_copy(
    update={
        "corpus": Corpus(licence="CC0-1.0 (synthetic speech), GPL-2, CC0-1.0, MIT, CC-BY-SA and others (recordings)"),
        "model": Model(base="embedded", freeze="nothing"),
        "train": FOURTH.train.model_copy(
            # Small corpora weigh more: they are other languages. The heads are new.
            update={"steps": 4000, "eval_steps": 500, "sampling_temperature": 2.0, "head_learning_rate": 3e-3}
        ),
    }
)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--targets", type=Path, default=Path("targets"))
    own, others = parser.parse_known_args()
    with cli.one_line_errors():
        recipe, out = recipe_options.override(RECIPE, others, "fifth_round", Path(sys.argv[0]).name)
        run(recipe, own.targets, out, Console())


def run(recipe: Recipe, kept: Path, out: Path, console: Console) -> None:
    """Train, and write the run folder `out`; started again, it goes on where it was.

    Args:
        recipe: `model.base` must be a model of this package that writes phones.
        kept: Folder of `targets.py`.
        out: The run folder.
        console: Where to report.

    Raises:
        InputError: the recipe, a corpus or the targets cannot be used, or `out` belongs to another run.
    """
    if (out / "model").is_dir():
        console.say("already done")
        return
    folder = base.folder(recipe.model)
    if folder is None:
        raise InputError("the student must be a folder of this package", place="model.base", remedy="As `embedded`.")
    model = CTCModel.load(folder)
    sources = corpora.sources(recipe)
    utterances = corpora.read_all(sources, recipe.language).utterances
    train = [u for u in utterances if u.split == "train"]
    dev = SpeechSplit.on_disk("dev", [u for u in utterances if u.split == "dev"], model.normaliser)
    targets = Targets(kept)
    indices, labels, left_out = usable(model, train, (named := keys(train)), targets)
    train, named = [train[i] for i in indices], [named[i] for i in indices]
    for what, count in left_out.items():
        console.warn(f"not used: {count:,} {what}")
    clips = Clips(train, named, labels, _streams(recipe, train))
    hours = sum(clips.durations_s(range(len(train)))) / 3600
    resolved, _ = presets.resolve(recipe, hours, model.net.config.hidden_size)

    out.mkdir(parents=True, exist_ok=True)
    recorded = out / "recipe.toml"
    if recorded.is_file() and fingerprint(read_recipe(recorded)) != fingerprint(resolved):
        raise InputError("this run folder belongs to another recipe", place=out, remedy="Give another --out.")
    write_recipe(resolved, recorded)
    write_environment(out / "environment.json")
    (out / "data").mkdir(exist_ok=True)
    _summary(model, train, dev, hours).write(out / "data")
    console.say(
        f"{len(train):,} clips, {hours:.2f} h, {sum(map(bool, labels)):,} of them with labels; "
        f"{resolved.train.steps:,} steps of {resolved.train.batch_s:g} s"
    )
    distil(resolved, model, clips, dev, targets, out, console)
    splits = [SpeechSplit.on_disk("train", train, model.normaliser), dev]
    heard = TrainedOn.of(splits, console, content_digests({u.audio for split in splits for u in split.utterances}))
    with without_heads(model.net):
        model.save(out / "model", heard)
    console.say(f"model: {out / 'model'}")


def _streams(recipe: Recipe, train: list[Utterance]) -> list[tuple[list[int], schedule.Sampling | None]]:
    """Return the synthesised half of a step and the recorded one, which is drawn from several corpora."""
    sources = corpora.sources(recipe)
    if len(sources) == 1:
        return [(list(range(len(train))), None)]
    numbers = np.array(corpora.corpus_numbers(train, sources))
    recorded = np.flatnonzero(numbers > 0)
    durations = [train[i].duration_s or 0.0 for i in recorded]
    sampling = schedule.Sampling.of(
        durations,
        (numbers[recorded] - 1).tolist(),
        [source.weight for source in sources[1:]],
        recipe.train.sampling_temperature,
    )
    return [(np.flatnonzero(numbers == 0).tolist(), None), (recorded.tolist(), sampling)]


def _summary(model: CTCModel, train: list[Utterance], dev: SpeechSplit, hours: float) -> PreparationSummary:
    of_dev = sum(u.duration_s or 0.0 for u in dev.utterances) / 3600
    return PreparationSummary(
        alphabet=model.alphabet.units,
        utterances={"train": len(train), "dev": len(dev)},
        hours={"train": round(hours, 4), "dev": round(of_dev, 4)},
        speakers={
            "train": len({u.speaker for u in train} - {None}),
            "dev": len({u.speaker for u in dev.utterances} - {None}),
        },
        unknown_letters={},
        character_changes=(),
        leaks=(),
        excluded=(),
    )


if __name__ == "__main__":
    main()
