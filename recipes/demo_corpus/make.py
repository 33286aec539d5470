"""Make the embedded demo corpus: everyday Māori, written by a small grammar and spoken by eSpeak NG.

Synthetic through and through. It shows every stage at work on a language that the big systems know little of,
with long vowels marked in its spelling, and with new voices and new sentences in its test set; it says nothing
about recognition of real Māori. The layout is Common Voice's: `train.tsv`, `dev.tsv` and `test.tsv` beside
`clips/`, the clips in the formats, rates and channel counts that real collections mix.

    python recipes/demo_corpus/make.py --out data/demo

Takes about a minute, and needs Debian's `espeak-ng` (GPL), which neither the package nor the finished corpus
needs. The same seed gives the same bytes as long as eSpeak NG and the audio libraries keep their versions.
"""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import soundfile
import soxr
import typer
from maori import draw_sentences

from asr_adapt.errors import InputError

ESPEAK_RATE_HZ = 22_050
CLIP_S = (1.0, 8.0)  # what is shorter or longer is not kept


@dataclass(frozen=True)
class Speaker:
    """An eSpeak voice variant, how it talks, and the room and noise in which it is recorded."""

    variant: str
    words_per_minute: int
    pitch: int  # eSpeak's scale, 0 to 99
    snr_db: float
    reverberation_s: float = 0.0  # the time in which the room's response falls by 60 dB; 0: no room


@dataclass(frozen=True)
class Split:
    """How much speech a split holds, and whose. No speaker and no sentence is in two splits."""

    minutes: float
    speakers: tuple[Speaker, ...]


# Variants that are easy to follow and, by the distance between their MFCCs on one sentence, not too alike: from
# a test voice to the nearest one in train it is 29 to 34, where it is 21 between the neighbours m1 and m3. The
# test voices are among those that recipes/pretrain keeps out of the base model's training, too.
SPLITS = {
    "train": Split(
        minutes=36,
        speakers=(
            Speaker("m1", 150, 50, snr_db=32),
            Speaker("m2", 145, 50, snr_db=28),
            Speaker("m3", 165, 55, snr_db=24, reverberation_s=0.25),
            Speaker("m5", 140, 45, snr_db=30),
            Speaker("Diogo", 145, 50, snr_db=26),
            Speaker("paul", 160, 65, snr_db=30, reverberation_s=0.35),
            Speaker("f1", 155, 50, snr_db=27),
            Speaker("f2", 150, 45, snr_db=34),
            Speaker("f5", 140, 60, snr_db=22, reverberation_s=0.2),
            Speaker("Annie", 160, 45, snr_db=29),
        ),
    ),
    "dev": Split(
        minutes=2.5,
        speakers=(Speaker("m4", 150, 55, snr_db=27), Speaker("f3", 155, 50, snr_db=31, reverberation_s=0.25)),
    ),
    "test": Split(
        minutes=4,
        speakers=(
            Speaker("m7", 155, 55, snr_db=30),
            Speaker("f4", 145, 45, snr_db=25, reverberation_s=0.3),
            Speaker("belinda", 150, 50, snr_db=28),
        ),
    ),
}


@dataclass(frozen=True)
class Format:
    """A file format, and how often it is drawn beside the others."""

    share: int
    suffix: str
    codec: str
    rate_hz: int
    layout: str = "mono"
    bits_per_second: int | None = None


FORMATS = (
    Format(62, ".opus", "libopus", 48_000, bits_per_second=14_000),
    Format(56, ".opus", "libopus", 24_000, bits_per_second=14_000),
    Format(52, ".opus", "libopus", 16_000, bits_per_second=14_000),
    Format(4, ".opus", "libopus", 48_000, "stereo", 24_000),
    Format(6, ".ogg", "vorbis", 22_050),
    Format(4, ".ogg", "vorbis", 44_100),
    Format(8, ".mp3", "libmp3lame", 22_050, bits_per_second=24_000),
    Format(4, ".mp3", "libmp3lame", 44_100, bits_per_second=32_000),
    Format(2, ".mp3", "libmp3lame", 44_100, "stereo", 40_000),
    Format(1, ".flac", "flac", 16_000),
)


def speak(sentence: str, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Return eSpeak's reading, a little faster or slower, higher or lower from one sentence to the next.

    Returns:
        float32 (num_samples,), 22.05 kHz, at half of eSpeak's loudness: at all of it some variants clip.
    """
    speed, pitch = speaker.words_per_minute + rng.integers(-6, 7), speaker.pitch + rng.integers(-4, 5)
    voice = ["-v", f"mi+{speaker.variant}", "-s", str(speed), "-p", str(pitch), "-a", "50"]
    wav = subprocess.run(
        ["espeak-ng", *voice, "-b", "1", "--stdout", sentence], check=True, capture_output=True
    ).stdout
    # Into a pipe eSpeak writes a 44-byte WAV header whose length field is made up.
    return np.frombuffer(wav[44:], "<i2").astype(np.float32) / 32_768


def record(speech: np.ndarray, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Return the speech as a microphone would have it: a pause on either side, the room, noise, some gain."""
    before, after = (rng.uniform(0.1, 0.45, size=2) * ESPEAK_RATE_HZ).astype(int)
    level = np.sqrt(np.mean(speech**2))
    signal = np.pad(speech, (before, after))
    if speaker.reverberation_s:
        signal = _convolve(signal, _room(speaker.reverberation_s, rng))
    noise = _pink_noise(len(signal), rng) * level * 10 ** (-speaker.snr_db / 20)
    gain = 10 ** (rng.uniform(-28, -18) / 20) / level
    gain = min(gain, 0.9 / np.abs(signal + noise).max())
    return ((signal + noise) * gain).astype(np.float32)


def _room(reverberation_s: float, rng: np.random.Generator) -> np.ndarray:
    """Return a room's response: the direct sound, and a decaying tail with a quarter of its energy."""
    time_s = np.arange(int(reverberation_s * ESPEAK_RATE_HZ)) / ESPEAK_RATE_HZ
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / reverberation_s)
    tail[time_s < 0.003] = 0  # the nearest wall is half a metre away
    response = tail * np.sqrt(0.25 / np.sum(tail**2))
    response[0] = 1
    return response


def _convolve(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Return the first `len(signal)` samples of the convolution."""
    size = len(signal) + len(response)
    return np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)[: len(signal)]


def _pink_noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of unit power that falls by 3 dB an octave from 50 Hz on."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / ESPEAK_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency_hz, 50)), num_samples)
    return noise / np.sqrt(np.mean(noise**2))


def encode(waveform: np.ndarray, path: Path, form: Format) -> None:
    """Write the clip; `bitexact` keeps random Ogg serial numbers and the encoder's version out of the file."""
    samples = soxr.resample(waveform, ESPEAK_RATE_HZ, form.rate_hz)
    samples = np.stack([samples, 0.7 * samples] if form.layout == "stereo" else [samples])  # (channels, num_samples)
    with av.open(path, "w", container_options={"fflags": "bitexact"}) as file:
        if form.codec == "vorbis":  # PyAV's wheels can't write it, libsndfile can
            _mux_vorbis(file, samples, form.rate_hz)
            return
        # Opus packets of 60 ms instead of 20: a third of the headers.
        options = {"frame_duration": "60"} if form.codec == "libopus" else {}
        stream = file.add_stream(form.codec, rate=form.rate_hz, layout=form.layout, options=options)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if form.bits_per_second:
            stream.bit_rate = form.bits_per_second
        frame = av.AudioFrame.from_ndarray(samples, "fltp", form.layout)
        frame.sample_rate = form.rate_hz
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def _mux_vorbis(file: av.container.OutputContainer, samples: np.ndarray, rate_hz: int) -> None:
    """Encode by libsndfile, and move the packets from its Ogg, which has a random serial number, to `file`."""
    ogg = BytesIO()
    soundfile.write(ogg, samples.T, rate_hz, format="OGG", subtype="VORBIS", compression_level=1.0)
    ogg.seek(0)
    with av.open(ogg) as source:
        stream = file.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:  # the last one only says that there are no more
                packet.stream = stream
                file.mux(packet)


def make_split(name: str, split: Split, sentences: Iterator[str], out: Path, rng: np.random.Generator) -> None:
    """Take sentences until the split is full; write its clips and its table, and print what is in it."""
    rows, formats, total_s = ["client_id\tpath\tsentence\tlocale"], Counter(), 0.0
    shares = np.array([form.share for form in FORMATS])
    for speaker in cycle(split.speakers):
        if total_s >= split.minutes * 60:
            break
        sentence = next(sentences)
        waveform = record(speak(sentence, speaker, rng), speaker, rng)
        duration_s = len(waveform) / ESPEAK_RATE_HZ
        if not CLIP_S[0] <= duration_s <= CLIP_S[1]:
            continue
        form = FORMATS[rng.choice(len(FORMATS), p=shares / shares.sum())]
        path = out / "clips" / f"{name}_{len(rows):04d}{form.suffix}"
        encode(waveform, path, form)
        rows.append(f"espeak_{speaker.variant}\t{path.name}\t{sentence}\tmi")
        formats[form.suffix] += 1
        total_s += duration_s
    (out / f"{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in formats.most_common())
    print(f"{name}: {len(rows) - 1} clips, {total_s / 60:.1f} min, {len(split.speakers)} voices; {kinds}")


def main(
    out: Annotated[Path, typer.Option(help="The folder to fill; its clips/ must be empty or not there.")],
    seed: Annotated[int, typer.Option(help="Another seed: other sentences, another recording.")] = 1,
) -> None:
    """Make the demo corpus."""
    try:
        if shutil.which("espeak-ng") is None:
            raise InputError("espeak-ng is not installed", remedy="On Debian: apt-get install espeak-ng.")
        clips = out / "clips"
        if clips.exists() and any(clips.iterdir()):
            raise InputError("already holds clips", place=clips, remedy="Remove it, or give another --out.")
    except InputError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from error
    clips.mkdir(parents=True, exist_ok=True)
    # More than the splits take (43 min at 3.3 s a sentence: 770), and shuffled: late drawings are rarer and longer.
    lots = random.Random(seed)
    sentences = draw_sentences(1_200, lots)
    lots.shuffle(sentences)
    remaining = iter(sentences)
    rng = np.random.default_rng(seed)
    for name, split in SPLITS.items():
        make_split(name, split, remaining, out, rng)


if __name__ == "__main__":
    typer.run(main)
