"""The embedded base model, first round: phones of many languages, from scratch, on synthetic speech (`speak.py`).

    python recipes/pretrain/speak.py --out corpus --hours 25
    python recipes/pretrain/base.py --corpus.root corpus/manifest.jsonl

Three more rounds follow; `card.md` has the commands of all of them.

dev holds training languages by unseen speakers, test unseen languages; error rates are of phones.
"""

from asr_adapt import Augment, Corpus, Model, Recipe, Text, Train, run_recipe

RECIPE = Recipe(
    language="mul",
    corpus=Corpus(licence="CC0-1.0 (synthetic speech)"),
    # Labels are IPA: case is distinctive, and modifiers and length marks are units of their own.
    text=Text(lower=False, units="code_points"),
    model=Model(base="none"),
    # Hardly any clip is seen more than twice, and most are already degraded, so light masking is enough.
    train=Train(
        steps=4000,
        batch_s=44,
        learning_rate=1.2e-3,
        warmup=0.1,
        hold=0.4,
        mask_time=0.1,
        mask_features=0.05,
        eval_steps=400,
    ),
    augment=Augment(speed=0),
)

if __name__ == "__main__":
    run_recipe(RECIPE)
