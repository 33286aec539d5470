"""The embedded base model's third round: recorded speech, mixed with three hours of synthetic speech.

    python recipes/pretrain/third_round.py --corpus.root spoken/manifest.jsonl \
        --corpora '[{"root": "fewer/manifest.jsonl"}]'

After two rounds the base model lacked real speech rather than more languages (docs/log.md). There are few recordings,
each is seen several times, so masking is stronger than before.
"""

from second_round import RECIPE as SECOND

from asr_adapt import Corpus, Model, run_recipe

RECIPE = SECOND.model_copy(
    update={
        "corpus": Corpus(licence="CC0-1.0 (synthetic speech), GPL-2 (recordings)"),
        "model": Model(base="runs/second_round/model", freeze="nothing"),
        "train": SECOND.train.model_copy(
            update={"steps": 3600, "warmup": 0.05, "hold": 0.4, "mask_time": 0.15, "mask_features": 0.08}
        ),
    }
)

if __name__ == "__main__":
    run_recipe(RECIPE)
