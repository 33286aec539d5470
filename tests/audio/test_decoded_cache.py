"""A long recording that cannot be sought is decoded once, and its pieces are those that it has there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import muxed, say

from asr_adapt import audio
from asr_adapt.audio.decoded_cache import DecodedCache
from asr_adapt.errors import AudioError
from asr_adapt.records import Utterance

WAVEFORM = say("abc de bad cab dead " * 6)


def pieces_of(path: Path, count: int = 6) -> list[Utterance]:
    return [Utterance(id=str(i), audio=str(path), start_s=i + 0.25, end_s=i + 1.1) for i in range(count)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recordings that were decoded from their beginning to their end."""
    whole, blocks = [], audio.blocks

    def counted(name: str, **piece: float) -> object:
        if not piece:
            whole.append(name)
        return blocks(name, **piece)

    monkeypatch.setattr(audio, "blocks", counted)
    return whole


@pytest.mark.parametrize(("container", "codec", "rate"), [("mp3", "libmp3lame", 44_100), ("ogg", "libopus", 48_000)])
def test_pieces_of_a_compressed_recording_are_those_of_the_whole_decoded_once(
    tmp_path: Path, decoded: list[str], container: str, codec: str, rate: int
) -> None:
    path, scratch = tmp_path / f"long.{container}", tmp_path / "scratch"
    path.write_bytes(muxed(WAVEFORM, container, codec, rate))
    scratch.mkdir()
    utterances = pieces_of(path)
    wanted = [audio.load(u.audio, start_s=u.start_s, end_s=u.end_s) for u in utterances]
    pieces = DecodedCache(utterances, scratch)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(pieces.load, utterances))
    assert decoded == [str(path)]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))
    assert not list(scratch.iterdir()), "the copy goes with the last piece"


def test_a_recording_that_can_be_sought_and_one_of_few_pieces_are_not_copied(
    tmp_path: Path, decoded: list[str]
) -> None:
    soundfile.write(tmp_path / "long.flac", WAVEFORM, 16_000)
    (tmp_path / "few.mp3").write_bytes(muxed(WAVEFORM, "mp3", "libmp3lame", 44_100))
    utterances = [*pieces_of(tmp_path / "long.flac"), *pieces_of(tmp_path / "few.mp3", count=2)]
    pieces = DecodedCache(utterances, tmp_path / "never made")
    assert all(len(pieces.load(u)) == round(0.85 * 16_000) for u in utterances)
    assert decoded == []


def test_a_recording_that_cannot_be_decoded_is_tried_once_and_each_piece_says_so(
    tmp_path: Path, decoded: list[str]
) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"no sound at all" * 50)
    utterances = pieces_of(tmp_path / "bad.mp3")
    pieces = DecodedCache(utterances, tmp_path)
    for utterance in utterances:
        with pytest.raises(AudioError, match="no audio can be decoded"):
            pieces.load(utterance)
    assert len(decoded) == 1 and [path.name for path in tmp_path.iterdir()] == ["bad.mp3"]


def test_recordings_in_turns_keep_their_sound_when_another_is_done(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    seconds = np.arange(4 * 16_000) / 16_000
    for name, hz in (("a", 200), ("b", 400), ("c", 800)):
        soundfile.write(tmp_path / f"{name}.ogg", 0.5 * np.sin(2 * np.pi * hz * seconds), 16_000)
    turns = [Utterance(id=f"{n}", audio=str(tmp_path / f"{name}.ogg"), start_s=1, end_s=2)
             for n, name in enumerate("abaacbcbc")]  # fmt: skip
    pieces = DecodedCache(turns, tmp_path / "scratch")
    heard = [int(np.abs(np.fft.rfft(pieces.load(u))).argmax()) for u in turns]  # Hz, since a piece is a second
    assert heard == [{"a": 200, "b": 400, "c": 800}[Path(u.audio).stem] for u in turns]
