"""A long recording that cannot be sought is decoded once, and its pieces are those that it has there."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import muxed, say

from asr_adapt import audio
from asr_adapt.audio import decoded_cache
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

    def counted(name: str, **segment: float) -> object:
        whole.append(name)
        return blocks(name, **segment)

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


def ogg(path: Path, seconds: float = 4.0) -> Path:
    soundfile.write(path, 0.5 * np.sin(np.arange(round(seconds * 16_000)) / 10), 16_000)
    return path


def segments(path: Path, *times: tuple[float | None, float | None]) -> list[Utterance]:
    return [Utterance(id=str(i), audio=str(path), start_s=start, end_s=end) for i, (start, end) in enumerate(times)]


def test_a_copy_reaches_no_further_than_the_last_segment(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    utterances = segments(ogg(tmp_path / "a.ogg", 60.0), (0, 1), (1, 2), (2, 3.5))
    cache = DecodedCache(utterances, tmp_path / "scratch")
    assert len(cache.load(utterances[2])) == 24_000
    assert [copy.stat().st_size for copy in (tmp_path / "scratch").iterdir()] == [3.5 * 16_000 * 4]


def test_a_recording_too_long_for_a_copy_is_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    utterances = segments(ogg(tmp_path / "a.ogg"), (0, 1), (1, 2), (2, None))
    monkeypatch.setattr(decoded_cache, "_MAX_COPY_S", 2)
    cache = DecodedCache(utterances, tmp_path / "scratch")
    assert [len(cache.load(utterance)) for utterance in utterances] == pytest.approx(
        [16_000, 16_000, 32_000], abs=300
    )
    assert not list((tmp_path / "scratch").iterdir())


def test_a_full_disk_is_one_line_and_leaves_no_copy(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    utterances = segments(ogg(tmp_path / "a.ogg"), (0, 1), (1, 2), (2, 3))
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from asr_adapt.audio.decoded_cache import DecodedCache; from asr_adapt.errors import DiskFull\n"
        "from asr_adapt.records import Utterance\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "utterances = [Utterance(id='1', audio=sys.argv[1], start_s=i, end_s=i + 1) for i in range(3)]\n"
        "cache = DecodedCache(utterances, Path(sys.argv[2]))\n"
        "for utterance in utterances:\n    try: cache.load(utterance)\n    except DiskFull as error: print(error)"
    )
    command = [sys.executable, "-c", code, utterances[0].audio, str(tmp_path / "scratch")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.count("cannot be written: the file exceeds the size limit. Make") == 3, done.stderr
    assert not list((tmp_path / "scratch").iterdir())


def test_a_segment_after_the_end_is_the_same_error_with_and_without_a_copy(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    utterances = segments(ogg(tmp_path / "a.ogg"), (0, 1), (7, 8), (3, 2), (3.5, 99), (7, None))
    cache = DecodedCache(utterances, tmp_path / "scratch")
    for utterance in utterances:
        try:
            expected = audio.load(utterance.audio, start_s=utterance.start_s, end_s=utterance.end_s)
        except AudioError as error:
            with pytest.raises(AudioError) as caught:
                cache.load(utterance)
            assert str(caught.value) == str(error)
        else:
            np.testing.assert_allclose(cache.load(utterance), expected, atol=1e-5)
