"""How deep to freeze a base model: up to the layer whose features say most of this speech (`model.freeze = "auto"`).

Which layers are worth training depends on the shift (Lee et al. 2023, "Surgical Fine-Tuning", arXiv:2210.11466). Here
layers that already help a probe to write the new language are kept, and those above, whose features help it less, are
trained.
"""

import itertools

import numpy as np

from asr_adapt.artifacts import DepthMeasurement
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.records import describe_duration
from asr_adapt.scoring import error_rates
from asr_adapt.training import layer_probes
from asr_adapt.training.layer_probes import LayerProbes

_DEPTHS = 4  # that are compared, evenly from 0


def best(model: CTCModel, train: SpeechSplit, dev: SpeechSplit, inputs: str, console: Console) -> DepthMeasurement:
    """Return the depth whose features probes transcribe best, among at most four that leave a layer to train.

    It is 0, with the reason, where there is nothing to choose from or too little speech to choose by.

    Args:
        model: The base model, with a head for the alphabet.
        train: The train split, of which ten minutes are used; the same ones each time.
        dev: The dev split, of which five are scored.
        inputs: Fingerprint of all that decides the result; is kept with it.
        console: Where to report.
    """
    layers = model.net.config.num_hidden_layers
    depths = sorted({layers * part // _DEPTHS for part in range(_DEPTHS)})

    def none(why: str) -> DepthMeasurement:
        return DepthMeasurement(inputs=inputs, depth=0, reason=f"auto: {why}")

    if len(depths) < 2:
        return none("a model of one layer has no other depth")
    train = _sampled(train, 60 * layer_probes.MINUTES)
    dev = _sampled(dev, 60 * layer_probes.MINUTES * layer_probes.DEV_SHARE)
    for split in (train, dev):
        if len(split) < layer_probes.LEAST_CLIPS:
            return none(
                f"{split.name} has {len(split)} clips, {layer_probes.LEAST_CLIPS} are needed to measure a depth"
            )
    probes = LayerProbes(model, train, dev, depths, "model.freeze auto", console)
    written: dict[int, list[list[str]]] = {depth: [] for depth in depths}
    trials = list(itertools.product(depths, layer_probes.SEEDS))
    with console.progress("model.freeze auto: probes", total=len(trials)) as progress:
        for depth, seed in progress.over(trials):
            written[depth].append(probes.texts(depth, probes.fitted(depth, seed)))
    cers = {
        depth: error_rates.rate([error for each in texts for error in probes.errors(each)])
        for depth, texts in written.items()
    }
    chosen = min(depths, key=lambda depth: cers[depth])
    amount = describe_duration(_seconds(train))
    if not all(probes.has_learned(texts) for texts in written[chosen]):
        return none(f"probes learn nothing from {amount} of this speech at any depth")
    rates = ", ".join(f"{_described(depth)} {cer:.3f}" for depth, cer in cers.items())
    reason = f"auto: CER on dev of probes on {amount} of train, by the features of {rates}"
    return DepthMeasurement(inputs=inputs, depth=chosen, reason=reason, cers=cers)


def _described(depth: int) -> str:
    return f"layer {depth}" if depth else "the feature encoder"


def _sampled(split: SpeechSplit, seconds: float) -> SpeechSplit:
    """Return random clips of so many seconds, and at least so many as are needed; the same ones each time."""
    order = np.random.default_rng(0).permutation(len(split))
    ends_s = np.cumsum(split.durations_s[order])
    count = max(1 + int(np.searchsorted(ends_s, seconds)), layer_probes.LEAST_CLIPS)
    return split.select(sorted(order[:count].tolist()))


def _seconds(split: SpeechSplit) -> float:
    return float(split.durations_s.sum())
