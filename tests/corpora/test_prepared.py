"""Prepared data with and without a copy of the audio: the same samples, or an error that names the file."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, muxed, say

from asr_adapt import audio
from asr_adapt.corpora import prepared
from asr_adapt.errors import InputError
from asr_adapt.records import Utterance
from asr_adapt.storage import content_digests


@pytest.fixture
def clips(tmp_path: Path) -> list[Utterance]:
    """Clips that can be decoded at random: a FLAC at another rate, an MP3, and segments of a WAV."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    soundfile.write(folder / "a.flac", np.repeat(say("ab cd", 1), 3)[::2], RATE_HZ * 3 // 2)
    (folder / "b.mp3").write_bytes(muxed(say("bad", 2), "mp3", "libmp3lame", RATE_HZ))
    soundfile.write(folder / "long.wav", say("ab cd eb ad", 3), RATE_HZ)
    return [
        Utterance(id="a", audio=str(folder / "a.flac"), text="Ab cd."),
        Utterance(id="b", audio=str(folder / "b.mp3"), text="Bad."),
        Utterance(id="c", audio=str(folder / "long.wav"), start_s=0.1, end_s=0.4, text="Ab."),
        Utterance(id="d", audio=str(folder / "long.wav"), start_s=0.4, text="Cd eb ad."),
    ]


def write(folder: Path, clips: list[Utterance], *, copy: bool) -> prepared.Written:
    rows = [(u, (u.text or "").lower(), audio.load(u.audio, start_s=u.start_s, end_s=u.end_s)) for u in clips]
    folder.mkdir()
    return prepared.write(folder, "train", rows, None if copy else content_digests({u.audio for u in clips}))


def test_what_is_not_copied_has_the_same_utterances_and_samples(clips: list[Utterance], tmp_path: Path) -> None:
    assert write(tmp_path / "copied", clips, copy=True) == (4, 4)
    assert write(tmp_path / "decoded", clips, copy=False) == (4, 0)
    whole, decoded = (prepared.load(tmp_path / name, "train") for name in ("copied", "decoded"))
    assert list(decoded.utterances) == list(whole.utterances) == clips
    assert list(decoded.references) == list(whole.references) and decoded.references[1:3] == ["bad.", "ab."]
    assert np.array_equal(decoded.lengths, whole.lengths) and np.array_equal(decoded.durations_s, whole.durations_s)
    for index, (ours, theirs) in enumerate(zip(decoded.recordings(), whole.recordings(), strict=True)):
        assert np.array_equal(ours, theirs) and np.array_equal(decoded.waveform(index), whole.waveform(index))
    sizes = [prepared.path_of(tmp_path / name, "train").stat().st_size for name in ("decoded", "copied")]
    assert sizes[0] < 10_000 < whole.lengths.sum() * 4 < sizes[1]


def test_what_cannot_be_decoded_at_random_is_copied(clips: list[Utterance], tmp_path: Path) -> None:
    archive = tmp_path / "corpus.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(clips[0].audio, "a.flac")
    clips += [
        Utterance(id="e", audio=clips[1].audio, end_s=0.2, text="B."),
        Utterance(id="f", audio=f"{archive}#a.flac", text="Ab cd."),
    ]
    assert write(tmp_path / "data", clips, copy=False) == (6, 2)
    archive.unlink()
    found = prepared.load(tmp_path / "data", "train")
    assert np.array_equal(found.waveform(5), found.waveform(0))
    assert len(found.waveform(4)) == found.lengths[4] == round(0.2 * RATE_HZ)


def test_a_file_that_has_changed_is_named_and_one_that_was_copied_anew_is_the_same(
    clips: list[Utterance], tmp_path: Path
) -> None:
    write(tmp_path / "data", clips, copy=False)
    path = Path(clips[0].audio)
    content = path.read_bytes()
    os.utime(path, (1, 1))
    split = prepared.load(tmp_path / "data", "train")
    before = split.waveform(0)

    for changed in (content + b"more", content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"a\.flac: has changed since the corpus was prepared\. Restore it"):
            split.waveform(0)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.flac: cannot be read \(No such file.*copy_audio true"):
        split.waveform(0)
    path.write_bytes(content)
    assert np.array_equal(split.waveform(0), before)
    assert np.array_equal(split.waveform(3), audio.load(clips[3].audio, start_s=0.4))
