"""wav2vec 2.0's own objective: tell the quantised frame behind a mask from other masked frames of the clip.

Baevski et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations"
(arXiv:2006.11477), sections 2 and 3.2. The quantiser is transformers' own; the loss is on the frames that are masked
alone, so that its memory does not grow with those that are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForPreTraining, PreTrainedConfig
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

from asr_adapt.errors import InputError
from asr_adapt.model import base, forward
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Model

MASKED, MASK_SPAN_S = 0.65, 0.2
"""share of the frames in spans that may overlap, about half of them in all, and the length of a span"""
_KINDS = ("wav2vec2",)
_TRAINED_TEMPERATURE, _NEW_TEMPERATURE = 0.5, 2.0  # of the Gumbel softmax: where its annealing ends, and begins


def check(config: PreTrainedConfig, name: str) -> None:
    """Refuse base models that were not pre-trained this way.

    Raises:
        InputError: it is of another type.
    """
    if config.model_type not in _KINDS:
        raise InputError(
            f"'{name}' is of type {config.model_type}, which is pre-trained in another way",
            place="train.pretrain_steps",
            remedy="It takes wav2vec 2.0, XLS-R and MMS; leave the field out.",
        )


@dataclass(frozen=True)
class Losses:
    """Of a batch; scalars."""

    contrastive: torch.Tensor
    """nats, mean over the masked frames"""
    diversity: torch.Tensor
    """1 minus the share of the codebook that is used"""
    accuracy: torch.Tensor
    """share of the masked frames of which the true target is the nearest"""
    codes: torch.Tensor
    """perplexity of the codebooks, in sum: how many codes are as good as used"""

    def total(self, weight: float) -> torch.Tensor:
        """Return what is minimised, with the weight of the diversity."""
        return self.contrastive + weight * self.diversity


class Contrast(torch.nn.Module):
    """The parts beside the model: the quantiser and two projections.

    Args:
        config: Of the base model.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.quantizer = Wav2Vec2GumbelVectorQuantizer(config)
        torch.nn.init.normal_(self.quantizer.weight_proj.weight)
        torch.nn.init.zeros_(self.quantizer.weight_proj.bias)
        torch.nn.init.uniform_(self.quantizer.codevectors)
        self.quantizer.temperature = _NEW_TEMPERATURE
        self.project_hid = torch.nn.Linear(config.hidden_size, config.proj_codevector_dim)
        self.project_q = torch.nn.Linear(config.codevector_dim, config.proj_codevector_dim)
        self._temperature, self._negatives = config.contrastive_logits_temperature, config.num_negatives
        self._codes = config.num_codevectors_per_group * config.num_codevector_groups

    @property
    def codes(self) -> int:
        """How many codes the codebooks have."""
        return self._codes

    @classmethod
    def of_base(cls, spec: Model, config: PreTrainedConfig) -> tuple["Contrast", bool]:
        """Return the base model's own, or new ones where its checkpoint has none, and whether they are its own.

        Raises:
            InputError: the checkpoint cannot be loaded.
        """
        made = cls(config)
        source = base.source(spec)
        try:
            with base.quiet():
                loaded: Any = AutoModelForPreTraining.from_pretrained(
                    source,
                    revision=spec.revision or "main",
                    output_loading_info=True,
                    use_safetensors=not spec.pickled_weights or None,
                    dtype=torch.float32,
                )
        except Exception as error:  # as of `base.from_pretrained`
            raise InputError(f"no model can be loaded from here ({error})", place=source) from error
        whole, info = loaded
        parts = ("quantizer.", "project_hid.", "project_q.")
        if any(key.startswith(parts) for key in info["missing_keys"]):
            return made, False
        found = {name: value for name, value in whole.state_dict().items() if name.startswith(parts)}
        made.load_state_dict(found)
        made.quantizer.temperature = _TRAINED_TEMPERATURE
        return made, True

    def forward(
        self,
        model: CTCModel,
        clips: Sequence[torch.Tensor],
        masked: torch.Tensor,
        generator: torch.Generator,
    ) -> Losses:
        """Return the losses of a batch.

        Args:
            model: Whose transformer is trained.
            clips: (frames, channels) each, of `forward.encode`.
            masked: bool (clips, longest): the frames that are hidden from the transformer, at least two of one clip.
            generator: Draws the frames that a target is told from.
        """
        net = model.net
        nothing = torch.zeros(len(clips), net.config.hidden_size, dtype=torch.bool, device=masked.device)
        hidden = forward.contextualise(net, clips, (masked, nothing))  # (B, T, H)
        norm = net.base_model.feature_projection.layer_norm
        predicted, targets, others = [], [], []
        before = 0
        for row, clip, mask in zip(hidden, clips, masked, strict=True):
            chosen = mask[: len(clip)].nonzero()[:, 0]
            if len(chosen) < 2:
                continue
            predicted.append(row[chosen])
            targets.append(norm(clip[chosen]))
            others.append(before + _others(len(chosen), self._negatives, generator).to(masked.device))
            before += len(chosen)
        quantised, codes = self.quantizer(torch.cat(targets)[None])
        logits = contrasts(
            self.project_hid(torch.cat(predicted)), self.project_q(quantised[0]), torch.cat(others), self._temperature
        )
        truth = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return Losses(
            torch.nn.functional.cross_entropy(logits, truth),
            1 - codes / self._codes,
            (logits.argmax(1) == 0).float().mean().detach(),
            codes.detach(),
        )


def contrasts(
    predicted: torch.Tensor, quantised: torch.Tensor, others: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return logits, float32 (frames, 1 + others): the true target's first; -inf of others that equal it.

    Args:
        predicted: (frames, width).
        quantised: (frames, width) the target of each frame.
        others: int (frames, others) frames whose targets are the wrong ones.
        temperature: Of the cosines.
    """
    candidates = torch.cat([quantised[:, None], quantised[others]], dim=1)  # (N, 1 + K, D)
    logits = torch.cosine_similarity(predicted[:, None].float(), candidates.float(), dim=-1) / temperature
    same = (candidates[:, 1:] == candidates[:, :1]).all(-1)
    return torch.cat([logits[:, :1], logits[:, 1:].masked_fill(same, -torch.inf)], dim=1)


def _others(frames: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return for each of the frames others of them, none itself: int (frames, count)."""
    drawn = torch.randint(frames - 1, (frames, count), generator=generator)
    return drawn + (drawn >= torch.arange(frames)[:, None])
