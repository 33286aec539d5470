"""demo: the embedded corpus goes through every stage, and a clip that was never seen is transcribed."""

from pathlib import Path

from asr_adapt import corpora
from asr_adapt.recipe import Corpus, Model, Recipe, Train
from asr_adapt.report import Console
from asr_adapt.run import run
from asr_adapt.transcriber import Transcriber

# Synthetic Māori: see data/demo/README.md. 36 minutes of train.
RECIPE = Recipe(
    language="mi",
    corpus=Corpus(licence="CC0-1.0 (synthetic speech)"),
    model=Model(base="none", hidden_size=192, layers=4),
    # Small batches: with so little speech the number of updates counts.
    train=Train(steps=800, batch_s=40, mask_time=0.15, mask_features=0.05),
)


def corpus_root() -> Path:
    """Return the embedded corpus: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "data" / "demo"
    return inside if inside.is_dir() else package.parent / "data" / "demo"


def demo(out: Path, console: Console) -> None:
    """Prepare, train and evaluate on the embedded corpus, then transcribe one of its test clips."""
    root = corpus_root()
    recipe = RECIPE.model_copy(update={"corpus": RECIPE.corpus.model_copy(update={"root": root})})
    console.say("synthetic Māori, 36 minutes, spoken by eSpeak NG: no speaker of the language has checked it")
    metrics = run(recipe, out, console)
    console.heading("transcribe")
    clip = next(u for u in corpora.read(root, recipe.language) if u.split == "test")
    transcript = Transcriber.from_folder(out / "model").transcribe(clip.audio)
    console.say(f"{clip.audio}\n  said: {clip.text}\n  read: {transcript.text}")
    low, high = metrics.wer_ci95
    console.say(f"\nWER on {metrics.utterances} unseen clips of unseen voices: {metrics.wer:.3f} "
                f"({low:.3f} to {high:.3f})")  # fmt: skip
