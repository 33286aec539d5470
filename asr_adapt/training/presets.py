"""What a recipe leaves open, chosen by the hours of labelled speech and by the base model, each with its reason.

Sources: fairseq's fine-tuning of wav2vec 2.0 with 10 minutes to 100 hours of labels
(`examples/wav2vec/config/finetuning/{base,vox}_{10m,1h,10h,100h}.yaml`: 13,000 to 80,000 steps of 1,600 s on several
GPUs); SpeechBrain's Common Voice recipes; docs/log.md for what was measured here, on two cores.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from asr_adapt.recipe import AUTO, Recipe, Resolved
from asr_adapt.records import describe_duration

Kind = Literal["none", "small", "embedded", "base", "large"]
_LARGE = 1024  # hidden size of XLS-R, MMS and the large wav2vec 2.0; the base ones have 768
_LONGEST_HEAD_STAGE = 500  # steps, SpeechBrain's


@dataclass(frozen=True)
class Choice:
    """One field that the recipe left open."""

    field: str
    value: object
    reason: str


# A column for each amount of labelled speech; the nearest one is taken (on a logarithmic scale).
_NAMES = ("10 minutes", "1 h", "10 h", "100 h")
_HOURS = (1 / 6, 1.0, 10.0, 100.0)
_BY_HOURS: dict[str, tuple[tuple[float, ...], str]] = {
    "steps": ((2_000, 5_000, 10_000, 30_000), "11 to 670 h of audio: the less speech, the more epochs"),
    "batch_s": ((20.0, 40.0, 80.0, 80.0), "small batches, since with little speech the number of updates counts"),
    "speed": ((0.1, 0.1, 0.1, 0.0), "Ko et al. 2015; with 100 h the cache of the frozen encoder brings more"),
    "mask_time": ((0.65, 0.65, 0.65, 0.5), "fairseq's 10m to 100h: far stronger than the posts' 5 %"),
    "mask_features": ((0.25, 0.25, 0.5, 0.5), "fairseq base_10m to base_100h"),
    "warmup": ((0.1, 0.1, 0.1, 0.1), "fairseq's tri-stage, a share of the steps"),
    "hold": ((0.4, 0.4, 0.4, 0.4), "fairseq's tri-stage, a share of the steps"),
}
_HEAD_SHARES = (0.2, 0.1, 0.1, 0.1)  # of the steps, in which the head is trained alone
# Validation takes about a third of training's time for as much audio, having no backward pass: so a tenth of it.
_DEV_SHARE = 0.3  # of the audio between two validations
# What a kind of base model has in place of that. Of the embedded one ten minutes and all of three corpora are known.
_OF_KIND: dict[Kind, dict[str, tuple[tuple[float, ...], str]]] = {
    "embedded": {
        "steps": ((800, 2_000, 6_000, 20_000), "400 brought ten minutes of Kichwa to a CER of .131 in 5 minutes"),
        "mask_time": ((0.5,) * 4, "half of the frames, as measured with ten minutes"),
        "mask_features": (
            (0.0,) * 4,
            "none, nor a stage of the head alone: with both, ten minutes of Kichwa were 7 % worse",
        ),
    }
}
# A head that starts from the base model's own letters is good soon: with an hour of Mboshi a 32nd of the steps
# brought dev CER to .451, a tenth to .463 (docs/log.md).
_HEAD_SHARE_OF_INHERITED = 0.03

_RATES: dict[Kind, tuple[tuple[float, ...], str]] = {
    "none": ((1e-3,) * 4, "from nothing; Mboshi from nothing left the blank plateau with it"),
    "small": ((1e-3,) * 4, "a small base model, which can be moved further than a large one"),
    "embedded": ((2e-4,) * 4, "as for Whisper's encoder, which it was"),
    "base": ((1e-4, 2e-4, 2e-4, 2e-4), "between fairseq's 5e-5 (13,000 steps and more) and the posts' 3e-4"),
    "large": ((5e-5, 1e-4, 1e-4, 1e-4), "fairseq vox_10m to vox_10h: 1e-4; half of it with 10 minutes"),
}
_ADAPTER_RATES = ((1e-3,) * 4, "adapters are new: MMS's rate (Pratap et al. 2023, arXiv:2305.13516)")
# The share of those masks, and how many epochs that requires: masks fight overfitting, of which there is
# little before (docs/log.md). Small models have less to spare: with ten minutes and 28 epochs, Mboshi's dev CER
# was .553, .535 and .522 with three, five and seven tenths of them.
_MASK_SHARES: dict[Kind, tuple[float, float, str]] = {
    "none": (0.25, 8.0, "a quarter of it from nothing, as for Mboshi"),
    "small": (0.7, 11.0, "seven tenths of it for the small base model"),
    "embedded": (1.0, 8.0, ""),
    "base": (1.0, 8.0, ""),
    "large": (1.0, 8.0, ""),
}
_MASKS = ("mask_time", "mask_features")


def resolve(recipe: Recipe, hours: float, hidden_size: int, dev_hours: float = 0.0) -> tuple[Resolved, list[Choice]]:
    """Return the recipe with every field that it leaves open filled in, and those choices.

    What the recipe says itself always stands. A resolved recipe stays as it is. A depth that is to be measured
    (`model.freeze` auto) is left to training, which asks `training.depth` first: here it is 0, where most is trained.

    Args:
        recipe: As it was written.
        hours: Of labelled speech in the train split; `train.hours` goes before it.
        hidden_size: Of the base model's transformer.
        dev_hours: Of speech in the dev split.
    """
    is_measured = recipe.model.freeze == AUTO
    if is_measured:
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": None})})
    kind = _kind(recipe, hidden_size)
    hours = recipe.train.hours or hours
    column = _column(hours)
    chosen: dict[str, Choice] = {}

    def choose(section: str, name: str, value: object, reason: str) -> Any:
        explicit = getattr(getattr(recipe, section), name)
        if explicit is None:
            chosen[name] = Choice(f"{section}.{name}", value, reason)
        return value if explicit is None else explicit

    train = {name: choose("train", name, *_of_table(name, column, kind)) for name in ("steps", "batch_s")}
    choose("augment", "speed", *_of_table("speed", column, kind))
    step_hours = train["batch_s"] * recipe.train.accumulate / 3600
    passes = train["steps"] * step_hours / hours
    for name in _MASKS:
        choose("train", name, *_mask(name, column, kind, passes))
    warmup, why = _of_table("warmup", column, kind)
    warmup = choose("train", "warmup", min(warmup, round(1 - (recipe.train.hold or 0), 9)), why)
    hold, why = _of_table("hold", column, kind)
    choose("train", "hold", min(hold, round(1 - warmup, 9)), why)
    steps = train["steps"]
    rates, why = _RATES[kind] if recipe.model.adapter == "none" else _ADAPTER_RATES
    rate = choose("train", "learning_rate", rates[column], why)
    choose(
        "train",
        "head_learning_rate",
        3e-3 if kind == "embedded" else max(1e-3, rate),
        "the head is new: 1e-3, 3e-3 on the embedded base model, or the peak rate if that is higher",
    )
    choose("train", "eval_steps", *_eval_steps(steps, step_hours, dev_hours))
    if kind == "none":
        choose("train", "head_steps", 0, "from nothing, all of it is new")
        choose("model", "freeze", "nothing", "from nothing, there is nothing to keep")
    else:
        share = {"small": _HEAD_SHARE_OF_INHERITED, "embedded": 0.0}.get(kind, _HEAD_SHARES[column])
        alone = min(_LONGEST_HEAD_STAGE, int(steps * share))
        choose("train", "head_steps", alone, "the new head first, against the blank plateau (fairseq, SpeechBrain)")
        why = "it is never trained (fairseq, fairseq2)"
        choose("model", "freeze", "feature_encoder", "auto: until the depth is measured" if is_measured else why)

    fields = recipe.model_dump()
    for choice in chosen.values():
        section, name = choice.field.split(".")
        fields[section][name] = choice.value
    return Resolved.model_validate(fields), list(chosen.values())


def default_steps(recipe: Recipe, hours: float, hidden_size: int) -> int:
    """Return the preset's steps, whatever the recipe's are; the arguments are those of `resolve`."""
    return int(_of_table("steps", _column(recipe.train.hours or hours), _kind(recipe, hidden_size))[0])


def describe(recipe: Recipe, hours: float) -> str:
    """Return which column of the table a recipe gets, and why."""
    named = recipe.train.hours
    found = named or hours
    amount = f"{describe_duration(found * 3600)} of labelled speech ({'named' if named else 'measured'})"
    return f"{amount}: preset for {_NAMES[_column(found)]}"


def _column(hours: float) -> int:
    return min(range(len(_HOURS)), key=lambda i: abs(math.log(max(hours, 1e-3) / _HOURS[i])))


def _of_table(name: str, column: int, kind: Kind) -> tuple[float, str]:
    values, reason = _OF_KIND.get(kind, {}).get(name) or _BY_HOURS[name]
    return values[column], reason


def _eval_steps(steps: int, step_hours: float, dev_hours: float) -> tuple[int, str]:
    often, seldom = max(25, steps // 20), max(25, steps // 5)
    affordable = math.ceil(dev_hours / _DEV_SHARE / step_hours)
    if affordable <= often:
        return often, "a twentieth of the steps, at least 25"
    if affordable <= seldom:
        return affordable, "about a tenth of training's time for validation"
    return seldom, f"a fifth of the steps, at least 25: dev is {describe_duration(dev_hours * 3600)} long"


def _mask(name: str, column: int, kind: Kind, passes: float) -> tuple[float, str]:
    value, reason = _of_table(name, column, kind)
    share, enough, why = _MASK_SHARES[kind]
    if why:
        reason += f"; {why}"
    if passes < enough:
        share *= passes / enough
        reason += f"; less, since there are only {passes:.1f} epochs"
    return round(value * share, 2), reason


def _kind(recipe: Recipe, hidden_size: int) -> Kind:
    if recipe.model.base == "none":
        return "none"
    if recipe.model.base == "embedded":
        return "embedded"
    if hidden_size < 512:  # a folder may hold a small base model too
        return "small"
    return "large" if hidden_size >= _LARGE else "base"
