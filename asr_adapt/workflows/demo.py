"""demo: the small embedded base model learns the embedded corpus, and a clip that was never seen is transcribed.

Not the larger one: its teacher knew Māori, which the small one never heard, and it runs at a fifth of the speed.
"""

import os
from pathlib import Path

from asr_adapt import bundled, corpora
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.recipe import Augment, Corpus, Model, Recipe, Train
from asr_adapt.workflows.model_folder import add_ngram, evaluate_folder
from asr_adapt.workflows.run import run

# Synthetic Māori: see data/demo/README.md. 36 minutes of train.
RECIPE = Recipe(
    language="mi",
    corpus=Corpus(licence="CC0-1.0 (synthetic speech)"),
    model=Model(base="embedded-small"),
    # Small batches, since with so little speech the number of updates counts; masks that hide a third: with weaker
    # ones it was worse (docs/log.md).
    train=Train(
        steps=700,
        batch_s=20,
        learning_rate=1e-3,
        head_learning_rate=2e-3,
        head_steps=50,
        warmup=0.05,
        hold=0.35,
        mask_time=0.35,
        mask_features=0.15,
        eval_steps=100,
    ),
    augment=Augment(speed=0.1),
)
_HEAD_STEPS = 100
_NGRAM_ORDER = 3


def recipe() -> Recipe:
    """Return the demo's recipe with its corpus."""
    return RECIPE.model_copy(update={"corpus": RECIPE.corpus.model_copy(update={"root": bundled.folder("demo")})})


def demo(out: Path, console: Console) -> None:
    """Train the head only, then adapt, then add an n-gram; score each on unseen speech, transcribe a test clip."""
    whole, out = recipe(), out if out.name else out.resolve()  # '.' has no name for what lies beside it
    console.say("synthetic Māori, 36 minutes, spoken by eSpeak NG: no speaker of the language has checked it")
    console.say(f"\n1 of 3: head only, {_HEAD_STEPS} steps; the base model is frozen")
    head_only = whole.model_copy(
        update={
            "model": whole.model.model_copy(update={"freeze": "all_but_head"}),
            "train": whole.train.model_copy(update={"steps": _HEAD_STEPS, "eval_steps": 25}),
        }
    )
    before = run(head_only, out.with_name(f"{out.name}-head-only"), console)
    console.say("\n2 of 3: adapted, all but the feature encoder")
    after = run(whole, out, console)
    scores = {"head only": before, "adapted": after}
    console.say("\n3 of 3: with an n-gram of the training text")
    try:
        add_ngram(out / "model", [], _NGRAM_ORDER, None, console)
        with_ngram = out.with_name(f"{out.name}-with-n-gram")
        scores["with n-gram"] = evaluate_folder(out / "model", whole.corpus, "test", with_ngram, console)
    except InputError as error:  # where ctc-beam-decoder does not run
        console.warn(str(error))
    console.heading("transcribe")
    clip = next(u for u in corpora.read(bundled.folder("demo"), whole.language) if u.split == "test")
    transcript = Transcriber.from_folder(out / "model").transcribe(clip.audio)
    path = Path(os.path.relpath(clip.audio))
    console.say(
        f"{clip.audio if '..' in path.parts else path}\n  reference:  {clip.text}\n  hypothesis: {transcript.text}"
    )
    console.heading(f"WER on {after.utterances} unseen clips of unseen voices")
    for name, metrics in scores.items():
        console.say(f"{name:12}{metrics.wer:.3f}  (95 % interval {{:.3f}} to {{:.3f}})".format(*metrics.wer_ci95))
    console.say(f"next: asr-adapt transcribe FILE --model {out / 'model'}, or a recipe of your own: see README.md")
