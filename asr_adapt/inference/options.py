"""How recordings are transcribed: the model and what it runs on, and what is read of each recording."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr_adapt.audio import channels
from asr_adapt.inference import engines

if TYPE_CHECKING:  # they bring torch, and a misspelt path shall be answered at once
    from asr_adapt.inference.transcriber import Transcriber
    from asr_adapt.model.mixed_precision import Precision


@dataclass(frozen=True)
class TranscriptionOptions:
    """What `transcribe` and `draft` are asked for."""

    model: Path
    engine: str
    """one of `engines.NAMES`, or `engines.TORCH`"""
    hotwords: tuple[str, ...] = ()
    use_ngram: bool = True
    channel: str | None = None
    """`left`, `right`, `each` (a speaker for each), or a number from 1 on; None: all are mixed"""
    track: int | None = None
    """of the audio, from 1 on; None: the file's default one"""
    cpu_precision: "Precision | None" = None
    """what PyTorch multiplies in on a processor; None: see `engines.precision`"""

    @classmethod
    def of(
        cls,
        model: Path,
        engine: str,
        *,
        hotwords: str = "",
        use_ngram: bool = True,
        channel: str | None = None,
        track: int | None = None,
    ) -> "TranscriptionOptions":
        """Return the options, with `auto` resolved to the engine that it stands for.

        Raises:
            InputError: the engine is unknown or cannot be used, or there is no such channel.
        """
        if channel is not None:
            channels.chosen(channel, channels.MAX_CHANNELS, "--channel")
        runner = engines.resolved(model, engine)
        return cls(model, runner, tuple(hotwords.split()), use_ngram, channel, track)

    def load(self) -> "Transcriber":
        """Load the model."""
        from asr_adapt.inference.transcriber import Transcriber
        from asr_adapt.model.device import best_device

        return Transcriber.from_folder(
            self.model,
            precision=None if best_device().type == "cuda" else self.cpu_precision,
            engine=self.engine,
            hotwords=self.hotwords,
            use_ngram=self.use_ngram,
        )

    @property
    def settings(self) -> str:
        """What decides about the text beside the model's files, for its fingerprint; the form never changes."""
        favoured = " ".join(self.hotwords)
        runner = "" if self.engine == engines.TORCH and not favoured else f"{self.engine} {favoured}"
        channel = f" --channel {self.channel}" if self.channel else ""
        track = f" --track {self.track}" if self.track else ""
        return f"{runner}{' --no-lm' * (not self.use_ngram)}{channel}{track}"
