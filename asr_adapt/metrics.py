"""`Metrics`, the contents of `metrics.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_adapt.errors import InputError
from asr_adapt.files import write_whole

_NAME = "metrics.json"


@dataclass(frozen=True)
class Metrics:
    """What an evaluation found. Rates are fractions and may exceed 1; intervals are 95 % bootstraps."""

    split: str
    utterances: int
    words: int
    audio_s: float
    wer: float
    wer_ci95: tuple[float, float]
    cer: float
    cer_ci95: tuple[float, float]
    substitutions: int
    deletions: int
    insertions: int
    excluded: dict[str, int]
    normaliser: str
    decoding: str
    transcribe_rtfx: float

    def speed(self) -> str:
        """Return the seconds of audio read in a second, two digits of them at least."""
        return f"{self.transcribe_rtfx:{'.0f' if self.transcribe_rtfx >= 10 else '.2g'}}"

    def write(self, folder: Path) -> None:
        """Write `metrics.json` into a folder, whole or not at all."""
        write_whole(folder / _NAME, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Metrics":
        """Return what `write` wrote into a folder.

        Raises:
            InputError: it is not there, or damaged.
        """
        path = folder / _NAME
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(**fields | {name: tuple(fields[name]) for name in ("wer_ci95", "cer_ci95")})
        except FileNotFoundError:
            raise InputError(
                f"no evaluation is here: {_NAME} is missing",
                place=folder,
                remedy="Give a run's folder, or one that `asr-adapt evaluate` wrote.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"damaged ({error!r})", place=path, remedy="Evaluate again.") from error
