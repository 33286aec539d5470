"""CTC probes on frozen features of several layers: how much of this speech each layer of a model already tells.

`rank` compares base models by them, and `model.freeze = "auto"` the layers of one.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.model import forward
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.scoring import chance, error_rates
from asr_adapt.scoring.error_rates import Errors
from asr_adapt.training import probe

STEPS = 200
SEEDS = (0, 1)
MINUTES = 10.0
"""of training speech in a sample"""
DEV_SHARE = 0.5
"""minutes of dev, as a share of those"""
LEAST_CLIPS = 20
"""of train and of dev, in a sample"""
_BATCH = 8  # clips of like length


class LayerProbes:
    """Features of some layers, and the probes that are trained on them.

    Args:
        model: Is put into evaluation mode.
        train: Decoded clips that probes are trained on.
        dev: Decoded clips that they write.
        layers: 0 for the feature encoder's output, K for that of transformer layer K; ascending.
        title: Of the progress bars.
        console: Where to report.
    """

    def __init__(
        self,
        model: CTCModel,
        train: SpeechSplit,
        dev: SpeechSplit,
        layers: Sequence[int],
        title: str,
        console: Console,
    ) -> None:
        model.net.eval()
        self.train = features(model, train, layers, f"{title}: {train.name}", console)
        self.labels = [model.alphabet.encode(text) for text in train.references]
        self._model, self._split = model, dev
        self._dev = features(model, dev, layers, f"{title}: {dev.name}", console)

    def fitted(self, layer: int, seed: int, progress: Callable[[int], None] = lambda step: None) -> probe.Probe:
        """Return a probe that is trained on a layer's features of train."""
        return probe.train(
            self.train[layer], self.labels, len(self._model.alphabet), self._model.frame_s, steps=STEPS, batch_s=20.0,
            width=128, seed=seed, progress=progress,
        )  # fmt: skip

    def texts(self, layer: int, fitted: probe.Probe) -> list[str]:
        """Return what a probe of that layer writes for each clip of dev."""
        return [self._model.alphabet.decode(ids) for ids in fitted.labels(self._dev[layer])]

    def errors(self, texts: Sequence[str]) -> list[Errors]:
        """Return the character errors of each text."""
        return [error_rates.character_errors(*pair) for pair in zip(self._split.references, texts, strict=True)]

    def has_learned(self, texts: Sequence[str]) -> bool:
        """Whether they fit their own clips better than others of like length."""
        return chance.gain(self._split.references, texts, self._split.durations_s.tolist()).is_real


def features(
    model: CTCModel, speech: SpeechSplit, layers: Sequence[int], title: str, console: Console
) -> dict[int, list[np.ndarray]]:
    """Return float16 (frames, channels) of each clip, for each layer; layers as in `LayerProbes`."""
    lengths = speech.lengths
    order = sorted(range(len(speech)), key=lambda i: lengths[i])
    found: dict[int, list[np.ndarray]] = {layer: [np.empty(0)] * len(speech) for layer in layers}
    with console.progress(title, total=len(speech)) as progress, torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            clips = order[start : start + _BATCH]
            waveforms = [torch.from_numpy(np.array(speech.waveform(i))).to(model.net.device) for i in clips]
            rows, depth = forward.encode(model, waveforms), 0
            for layer in layers:
                if layer:
                    states = forward.contextualise(model.net, rows, depth=depth, until=layer)
                    rows, depth = [row[: len(one)] for row, one in zip(states, rows, strict=True)], layer
                for clip, row in zip(clips, rows, strict=True):
                    found[layer][clip] = row.half().cpu().numpy()
            progress.at(start + len(clips))
    return found
