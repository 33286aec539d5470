"""Collect recorded speech from Debian packages, labelled with IPA: the embedded base model's second corpus.

10.4 h of speech, as games and a voice ship it with its text:

- `fillets`, Fish Fillets NG (GPL-2+): dubbed dialogue in Czech and Dutch (3.3 h); acted, at times with an effect.
  Its English clips are left out, since they contain phrases of other languages.
- `queen`, Flight of the Amazon Queen (a free licence of its own): English dialogue of a pilot and some seventy other
  characters (3.1 h); acted, from MP3 at 11 kHz.
- `stamps`, Tux Paint's (GPL-2): short descriptions of pictures, recorded on home microphones, in Belarusian,
  Bulgarian, Catalan, Danish, French, Greek, Romanian, Russian and Spanish (2.5 h), a little in English and Dutch.
- `russian`, Debian's festvox-ru (a BSD-like licence): the sentences from which the voice was built, read in Russian
  by one speaker (1.5 h).

For dev, the Dutch stamps and `numbers`, Asterisk's (CC-BY-SA-3.0) in six voices of five languages: speakers who are
not in train, in languages that are.

Labels are eSpeak NG's phonemes of the text, in the units of `speak.py`; where the speaker said something else, they
are wrong. Each recording of train is included three times: once unchanged, otherwise degraded by `noise.degrade`.

    python recipes/pretrain/recordings.py --out DIR

writes `DIR/clips/*.flac` and `DIR/manifest.jsonl`, one `Utterance` per line; it takes nine minutes on one core.

Needs Debian's packages fillets-ng-data, fillets-ng-data-cs, fillets-ng-data-nl, flight-of-the-amazon-queen,
tuxpaint-stamps-default, festvox-ru, asterisk-core-sounds-{en,es,fr,it,ru}-wav, asterisk-prompt-it-menardi-wav and
espeak-ng, installed, or unpacked (`dpkg -x`) below the folder that `--root` names.
"""

import re
import struct
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import noise
import numpy as np
import soundfile
import speak
import typer
from tqdm import tqdm

from asr_adapt import audio, cli
from asr_adapt.errors import AudioError, InputError
from asr_adapt.records import Split, Utterance, write_jsonl

COPIES = 3
CLIP_S = (0.5, 15.0)
REMEDY = "Install the Debian packages that the docstring of recordings.py lists, or name where they are: --root."
# Language of a recording -> eSpeak NG voice, where the names differ.
VOICES = {"en": "en-us", "fr": "fr-fr"}
HELD_OUT = ("stamps-nl", "numbers")


class Recording(NamedTuple):
    """An audio file, or its bytes, with its text."""

    sound: Path | bytes
    text: str
    language: str
    speaker: str

    @property
    def split(self) -> Split:
        """The split of its speaker."""
        return "dev" if self.speaker.startswith(HELD_OUT) else "train"


def fillets(share: Path) -> Iterator[Recording]:
    """Yield the dialogue of Fish Fillets NG; names contain the speaker: `let-m-divna` is the small fish."""
    scripts = share / "games/fillets-ng/script"
    string = r'"((?:[^"\\]|\\.)*)"'
    line = re.compile(rf"dialogId\({string},\s*{string},\s*{string}\)\s*dialogStr\({string}\)")
    for script in sorted(scripts.glob("**/*dialogs_*.lua")):
        language = script.stem.rpartition("_")[2]
        folder = share / "games/fillets-ng/sound" / script.parent.relative_to(scripts)
        for name, _, _, text in line.findall(script.read_text(encoding="utf-8")):
            who = name.split("-")[1] if name.count("-") > 1 else "x"
            for path in sorted(folder.glob(f"**/{language}/{name}.ogg")):
                yield Recording(path, text.replace('\\"', '"'), language, f"fillets-{language}-{who}")


def queen(share: Path) -> Iterator[Recording]:
    """Yield the dialogue of Flight of the Amazon Queen, all of which is in one archive.

    A command such as `*15` or `*XY00(237,112)` cuts a speech into segments, each with a sound of its own:
    `02001CP2.SB` is the second segment of person 02's speech 0x1C, and with `J` for `P` the pilot's. What he says of
    things is in `JOE0041n.SB` and on: 41, a decimal number, is the first line of `QUEEN2.JAS`, n the segment. The
    format is that of ScummVM's engine `queen` (`resource.cpp`, `talk.cpp`); the lengths of texts and sounds agree.
    """
    path = share / "scummvm/flight-of-the-amazon-queen/queen.1c"
    if not path.is_file():
        return
    members = _members(path.read_bytes())
    remarks = members["QUEEN2.JAS"].decode("latin-1").split("\r\n")
    speeches = [(f"JOE{number:04d}", remark) for number, remark in enumerate(remarks, start=41)]
    for name in sorted(members):
        if name.endswith(".DOG"):
            speeches += _speeches(members[name])
    for prefix, speech in speeches:
        for segment, text in enumerate(re.split(r"\*(?:XY\d\d\(\d+,\d+\)|[A-Z]{2}|\d\d)", speech), start=1):
            sound = members.get(f"{prefix}{segment:X}.SB")
            if sound and text.strip():
                who = prefix[:2] if prefix.endswith("P") else "joe"
                yield Recording(sound, text.strip(), "en", f"queen-en-{who}")


def _members(archive: bytes) -> dict[str, bytes]:
    """Return the archive's members: a count at byte 13, then for each a name, a bundle's number, offset and size."""
    (count,) = struct.unpack_from(">H", archive, 13)
    table = struct.iter_unpack(">12sxII", archive[15 : 15 + 21 * count])
    return {name.rstrip(b"\0").decode("latin-1"): archive[at : at + size] for name, at, size in table}


def _speeches(dialogue: bytes) -> Iterator[tuple[str, str]]:
    """Yield what the pilot and the person say, each with the beginning of its sounds' names.

    Behind a header of 20 bytes, five int16, big-endian: depth of the tree (negative where the talk cannot be left),
    one that is not used here, the person's number, how many speeches are the pilot's and the person's; at byte 22
    where the person's begin. Those of the pilot stand behind the tree: 32 bytes, and 96 a level.
    """
    body = dialogue[20:]
    depth, _, person, of_pilot, of_person = struct.unpack_from(">5h", body)
    (persons_at,) = struct.unpack_from(">H", body, 22)
    for letter, at, count in (("J", 32 + 96 * abs(depth), of_pilot), ("P", persons_at, of_person)):
        for _ in range(count):
            number, length = struct.unpack_from(">2xHB", body, at)
            at += 5
            yield f"{person:02d}{number:04X}{letter}", body[at : at + length].decode("latin-1")
            # To a multiple of four behind a text, of two where there is none.
            at = (at + length + 3) & ~3 if length else (at + 1) & ~1


def russian(share: Path) -> Iterator[Recording]:
    """Yield the sentences of the Festival voice msu_ru_nsh_clunits; `+` marks the stress in its texts."""
    voice = share / "festival/voices/russian/msu_ru_nsh_clunits"
    texts = voice / "etc/txt.done.data"
    if not texts.is_file():
        return
    for name, text in re.findall(r'\(\s*(\S+)\s+"(.*)"\s*\)', texts.read_text(encoding="utf-8")):
        yield Recording(voice / f"wav/{name}.wav", text.replace("+", ""), "ru", "russian-nsh")


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


SOURCES = {source.__name__: source for source in (fillets, queen, stamps, russian, numbers)}


def find(names: Sequence[str], share: Path) -> list[Recording]:
    """Return the recordings of the sources named, each source once.

    Raises:
        InputError: there is no source of such a name, or nothing of one in `share`.
    """
    found: list[Recording] = []
    for name in dict.fromkeys(names):
        if name not in SOURCES:
            raise InputError(f"no source '{name}'", place="--source", remedy=f"Known are {', '.join(SOURCES)}.")
        of_source = list(SOURCES[name](share))
        if not of_source:
            raise InputError(f"no recordings of {name}", place=share, remedy=REMEDY)
        found += of_source
    return found


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
    source: Annotated[
        list[str] | None, typer.Option(help="Which recordings; may be given several times; all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other noises.")] = 1,
    copies: Annotated[
        int, typer.Option(min=1, help="Of each recording of train; 1: none is degraded, which training does then.")
    ] = COPIES,
) -> None:
    """Make the corpus."""
    with cli.one_line_errors():
        recordings = find(source or list(SOURCES), root / "usr/share")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    refused: Counter[str] = Counter()
    others: deque[np.ndarray] = deque(maxlen=24)
    utterances: list[Utterance] = []
    rng = np.random.default_rng(seed)
    for number, recording in enumerate(tqdm(recordings, unit="recording", mininterval=5)):
        try:
            spoken = labels(recording)
            waveform = audio.load(recording.sound)
            check(spoken, waveform)
        except (speak.Unspeakable, AudioError) as reason:
            refused["no sound in it" if isinstance(reason, AudioError) else str(reason)] += 1
            continue
        others.append(waveform)
        for copy in range(copies if recording.split == "train" else 1):
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
