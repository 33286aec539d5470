"""The embedded base model's fourth round: twice as many people, for longer, with six hours of the synthesisers.

    python recipes/pretrain/fourth_round.py --model.base runs/third_round/model \
        --corpus.root corpus/manifest.jsonl --corpora '[{"root": "people/manifest.jsonl"}]'

The third round's loss was still falling, and what it had brought to people's speech came from people's speech.
"""

from third_round import RECIPE as THIRD

from asr_adapt.cli import run_recipe
from asr_adapt.recipe import Model

RECIPE = THIRD.model_copy(
    update={
        "model": Model(base="runs/third_round/model", freeze="nothing"),
        "train": THIRD.train.model_copy(update={"steps": 4400, "speed": 0.1, "eval_steps": 1100}),
    }
)

if __name__ == "__main__":
    run_recipe(RECIPE)
