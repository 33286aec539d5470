"""The embedded base model's second round: from the first round's weights, with a new learning-rate schedule.

    python recipes/pretrain/second_round.py --corpus.root corpus/manifest.jsonl --model.base runs/base/model

In the first round the validation error stopped falling because the learning rate had decayed, not because the model
had converged.
"""

from base import RECIPE as FIRST

from asr_adapt import Model, run_recipe

RECIPE = FIRST.model_copy(
    update={
        "model": Model(base="runs/base/model", freeze="nothing"),
        "train": FIRST.train.model_copy(
            update={"steps": 3400, "head_steps": 0, "warmup": 0.0442, "hold": 0.4677, "eval_steps": 500}
        ),
    }
)

if __name__ == "__main__":
    run_recipe(RECIPE)
