"""Gather what Debian carries of people's speech, labelled with IPA: the embedded base model's third corpus.

What it is. 5.8 h of people, as two games ship them with the text of what they say:

- Fish Fillets NG (GPL-2+): the dubbed dialogue of two fish and those whom they meet, in Czech and Dutch (3.2 h);
  acted, at times through an effect. Its English clips are left out: they say phrases of other languages.
- Tux Paint's stamps (GPL-2): what a picture shows, said in a few words on a home microphone, in Belarusian,
  Bulgarian, Catalan, Danish, French, Greek, Romanian, Russian and Spanish (2.6 h), a little in English and Dutch.

For dev, the Dutch stamps and Asterisk's numbers (CC-BY-SA-3.0) in six voices of five languages: people whom train
does not hear, in languages that it hears.

Labels are what eSpeak NG says of the text, in the units of `speak.py`; where the speaker said something else, they
are wrong. Each recording of train stands there `COPIES` times: once as it is, else degraded by `noise.degrade`.

    python recipes/pretrain/recordings.py --out DIR

writes `DIR/clips/*.flac` and `DIR/manifest.jsonl`, one `Utterance` a line; some ten minutes on one core.

Needs Debian's packages fillets-ng-data, fillets-ng-data-cs, fillets-ng-data-nl, tuxpaint-stamps-default,
asterisk-core-sounds-{en,es,fr,it,ru}-wav, asterisk-prompt-it-menardi-wav and espeak-ng, installed, or unpacked
(`dpkg -x`) below the folder that `--root` names.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import noise
import numpy as np
import soundfile
import speak
import typer
from tqdm import tqdm

from asr_adapt import audio
from asr_adapt.errors import AudioError, InputError
from asr_adapt.utterance import Split, Utterance, write_jsonl

COPIES = 3
CLIP_S = (0.5, 15.0)
REMEDY = "Install the Debian packages that the docstring of recordings.py lists, or name where they are: --root."
# A game's language -> eSpeak NG's voice, where it is called otherwise.
VOICES = {"en": "en-us", "fr": "fr-fr"}
HELD_OUT = ("stamps-nl", "numbers")


class Recording(NamedTuple):
    """A file in which somebody says a text."""

    path: Path
    text: str
    language: str
    speaker: str

    @property
    def split(self) -> Split:
        """Which split its speaker is in."""
        return "dev" if self.speaker.startswith(HELD_OUT) else "train"


def fillets(share: Path) -> Iterator[Recording]:
    """Yield the dialogue of Fish Fillets NG; a line's name tells who speaks: `let-m-divna` is the small fish's."""
    scripts = share / "games/fillets-ng/script"
    said = r'"((?:[^"\\]|\\.)*)"'
    line = re.compile(rf"dialogId\({said},\s*{said},\s*{said}\)\s*dialogStr\({said}\)")
    for script in sorted(scripts.glob("**/*dialogs_*.lua")):
        language = script.stem.rpartition("_")[2]
        folder = share / "games/fillets-ng/sound" / script.parent.relative_to(scripts)
        for name, _, _, text in line.findall(script.read_text(encoding="utf-8")):
            who = name.split("-")[1] if name.count("-") > 1 else "x"
            for path in sorted(folder.glob(f"**/{language}/{name}.ogg")):
                yield Recording(path, text.replace('\\"', '"'), language, f"fillets-{language}-{who}")


def stamps(share: Path) -> Iterator[Recording]:
    """Yield what Tux Paint says of its stamps: `apple_desc_fr.ogg` says the line `fr.utf8=` of `apple.txt`."""
    for path in sorted(share.glob("tuxpaint/stamps/**/*_desc*.ogg")):
        name, _, language = path.stem.partition("_desc")
        language = language.lstrip("_") or "en"
        texts = path.with_name(f"{name}.txt")
        if not texts.is_file():
            continue
        first, *others = texts.read_text(encoding="utf-8").splitlines() or [""]
        of_language = dict(line.split(".utf8=", 1) for line in others if ".utf8=" in line) | {"en": first}
        if text := of_language.get(language, "").strip():
            yield Recording(path, text, language, f"stamps-{language}")


def numbers(share: Path) -> Iterator[Recording]:
    """Yield the numbers that Asterisk's voices say: `digits/17.wav` is seventeen."""
    for voice in sorted((share / "asterisk/sounds").glob("*_*_*")):
        for path in sorted(voice.glob("digits/*.wav")):
            if path.stem.isdecimal():
                yield Recording(path, path.stem, voice.name[:2], f"numbers-{voice.name}")


def labels(recording: Recording) -> str:
    """Return the phones of the text, as eSpeak NG would say it.

    Raises:
        speak.Unspeakable: it would spell it, switch the language, or has no voice for it.
    """
    voice = VOICES.get(recording.language, recording.language)
    if voice not in speak.VOICES:
        raise speak.Unspeakable(f"no voice for {voice}")
    ipa = speak.run(["espeak-ng", "-q", "-v", voice, "--ipa", recording.text]).stdout.decode()
    return speak.labels_of(ipa, voice)


def check(spoken: str, waveform: np.ndarray) -> None:
    """Raise `speak.Unspeakable` for a clip of the wrong length, or with more labels than CTC has room for."""
    duration_s = len(waveform) / audio.SAMPLE_RATE_HZ
    if not CLIP_S[0] <= duration_s <= CLIP_S[1]:
        raise speak.Unspeakable(f"not {CLIP_S[0]:g} to {CLIP_S[1]:g} s")
    if not spoken:
        raise speak.Unspeakable("nothing to say")
    if not 2 * duration_s <= len(spoken) <= 0.8 * speak.FRAMES_PER_S * duration_s:
        raise speak.Unspeakable("not 2 to 20 labels a second: the recording hardly says this text")


def main(
    out: Annotated[Path, typer.Option(help="The corpus's folder.")],
    root: Annotated[Path, typer.Option(help="Where the Debian packages are unpacked.")] = Path("/"),
    seed: Annotated[int, typer.Option(help="Another seed, other noises.")] = 1,
) -> None:
    """Make the corpus."""
    (out / "clips").mkdir(parents=True, exist_ok=True)
    share = root / "usr/share"
    sources = {source.__name__: list(source(share)) for source in (fillets, stamps, numbers)}
    for name, found in sources.items():
        if not found:
            typer.echo(InputError(f"no recordings of {name}", place=share, remedy=REMEDY), err=True)
            raise typer.Exit(2)
    recordings = [recording for found in sources.values() for recording in found]
    refused: Counter[str] = Counter()
    others: deque[np.ndarray] = deque(maxlen=24)
    utterances: list[Utterance] = []
    rng = np.random.default_rng(seed)
    for number, recording in enumerate(tqdm(recordings, unit="recording", mininterval=5)):
        try:
            spoken = labels(recording)
            waveform = audio.load(recording.path)
            check(spoken, waveform)
        except (speak.Unspeakable, AudioError) as reason:
            refused["no sound in it" if isinstance(reason, AudioError) else str(reason)] += 1
            continue
        others.append(waveform)
        for copy in range(COPIES if recording.split == "train" else 1):
            heard = noise.degrade(waveform, rng, others) if copy else waveform
            identity = f"{recording.speaker}-{number:05d}-{copy}"
            path = Path("clips") / f"{identity}.flac"
            soundfile.write(out / path, np.clip(heard, -1.0, 1.0), audio.SAMPLE_RATE_HZ, subtype="PCM_16")
            utterances.append(
                Utterance(
                    id=identity,
                    audio=str(path),
                    duration_s=round(len(heard) / audio.SAMPLE_RATE_HZ, 4),
                    split=recording.split,
                    language=VOICES.get(recording.language, recording.language),
                    speaker=recording.speaker,
                    text=spoken,
                )
            )
    write_jsonl(out / "manifest.jsonl", utterances)
    hours = sum(utterance.duration_s or 0 for utterance in utterances) / 3600
    print(f"{hours:.2f} hours in {len(utterances)} clips, copies counted; refused: {dict(refused.most_common())}")


if __name__ == "__main__":
    typer.run(main)
