"""The embedded base model's fourth round: nearly twice as much recorded speech, and more steps.

    python recipes/pretrain/fourth_round.py --corpus.root spoken/manifest.jsonl \
        --corpora '[{"root": "people/manifest.jsonl"}]'

The third round's loss was still falling, and recorded speech in training is what had helped on recorded speech.
"""

from third_round import RECIPE as THIRD

from asr_adapt import Augment, Corpus, Model, run_recipe

RECIPE = THIRD.model_copy(
    update={
        "corpus": Corpus(licence="CC0-1.0 (synthetic speech), GPL-2 and free licences of their own (recordings)"),
        "model": Model(base="runs/third_round/model", freeze="nothing"),
        "train": THIRD.train.model_copy(update={"steps": 4400, "eval_steps": 1100}),
        # More than half of the recordings were already in the third round, so vary their speed.
        "augment": Augment(speed=0.1),
    }
)

if __name__ == "__main__":
    run_recipe(RECIPE)
