"""The pool of decoder processes: the same samples, and a crash, a hang or a bad file costs one recording."""

import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from asr_adapt import audio
from asr_adapt.audio import decode_pool
from asr_adapt.audio.decode_pool import DecodePool, DecoderNotStarted
from asr_adapt.errors import AudioError

RATE = audio.SAMPLE_RATE_HZ


def wav(seconds: float = 2.0, channels: int = 1, seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * RATE), channels))
    soundfile.write(file, noise, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(workers=1)
    yield pool
    pool.close()


def workers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "asr_adapt.audio.decode_pool" in child.cmdline()]


def test_the_samples_are_those_of_blocks(pool: DecodePool, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(7.0, channels=2))
    expected = audio.load(tmp_path / "a.wav")
    with (tmp_path / "a.wav").open("rb") as file:
        for recording in (tmp_path / "a.wav", str(tmp_path / "a.wav"), wav(7.0, channels=2), file):
            blocks = list(pool.blocks(recording, block_s=2.0))
            assert [len(block) for block in blocks] == [32_000] * 3 + [16_000]
            np.testing.assert_array_equal(np.concatenate(blocks), expected)
        assert not file.closed
    right = np.concatenate(list(pool.blocks(tmp_path / "a.wav", channel="right", end_s=3.0)))
    np.testing.assert_array_equal(right, audio.load(tmp_path / "a.wav", channel="right", end_s=3.0))
    assert len(workers()) == 1


def test_errors_are_those_of_blocks_and_the_worker_goes_on(pool: DecodePool, tmp_path: Path) -> None:
    broken = wav(70.0)
    late = io.BytesIO()
    noise = np.zeros(70 * RATE, np.float32)
    noise[-1] = np.nan  # found after two blocks
    soundfile.write(late, noise, RATE, format="WAV", subtype="FLOAT")
    for recording, options in ((b"no audio", {}), (b"", {}), (tmp_path / "missing", {}), (late.getvalue(), {}),
                               (broken, {"channel": 2}), (broken, {"track": 3})):  # fmt: skip
        with pytest.raises(AudioError) as expected:
            list(audio.blocks(recording, **options))
        with pytest.raises(AudioError) as caught:
            list(pool.blocks(recording, **options))
        assert str(caught.value) == str(expected.value)
        assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE
    assert len(workers()) == 1


def test_a_recording_may_be_left_at_any_block(pool: DecodePool) -> None:
    for count in range(4):
        blocks = pool.blocks(wav(7.0), block_s=2.0)
        for _ in range(count):
            next(blocks)
        blocks.close()
        assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE


def test_a_worker_that_is_killed_costs_its_recording_only(pool: DecodePool) -> None:
    for number in range(3):
        blocks = pool.blocks(wav(600.0), block_s=1.0)
        assert len(next(blocks)) == RATE
        workers()[0].send_signal(signal.SIGKILL)
        with pytest.raises(AudioError, match=r"^<bytes>: the decoder crashed \(exit code -9\)"):
            list(blocks)
        assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE, number
    worker = workers()[0]
    worker.send_signal(signal.SIGKILL)  # between two recordings
    while worker.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE


def test_a_machine_too_busy_to_start_a_decoder_is_not_taken_for_a_bad_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = DecodePool(workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(decode_pool, "_START_S", 0.01)
        with pytest.raises(DecoderNotStarted, match=r"no decoder has started in 0.01 s. Try again later."):
            list(pool.blocks(wav()))
    assert not issubclass(DecoderNotStarted, AudioError) and not workers()
    assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE
    pool.close()


def test_a_decoder_that_hangs_is_ended(tmp_path: Path) -> None:
    pool = DecodePool(workers=1, timeout_s=2.0)
    list(pool.blocks(wav()))
    worker = workers()[0]
    worker.send_signal(signal.SIGSTOP)
    with pytest.raises(AudioError, match="decoding takes more than 2 s for a block"):
        list(pool.blocks(wav()))
    assert not worker.is_running()
    assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE
    pool.close()
    assert not workers()


def test_too_much_memory_is_an_error(monkeypatch: pytest.MonkeyPatch, pool: DecodePool) -> None:
    with pytest.raises(AudioError, match="decoding needs too much memory"):
        list(pool.blocks(wav(), block_s=1e6))
    assert len(np.concatenate(list(pool.blocks(wav())))) == 2 * RATE


def test_warnings_reach_the_log(pool: DecodePool, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    file = io.BytesIO()
    soundfile.write(file, np.stack([noise, -noise], axis=1), RATE, format="WAV")
    with caplog.at_level(logging.WARNING, logger="asr_adapt.audio"):  # which a server in another test silences
        list(pool.blocks(file.getvalue()))
    assert caplog.messages == ["<bytes>: its channels cancel out when mixed; channel 1 is used instead"]


def test_threads_share_the_workers() -> None:
    pool = DecodePool(workers=2)
    recordings = [wav(1.0 + number / 10, seed=number) for number in range(12)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda data: np.concatenate(list(pool.blocks(data, block_s=0.3))), recordings))
    for waveform, data in zip(found, recordings, strict=True):
        np.testing.assert_array_equal(waveform, audio.load(data))
    assert len(workers()) == 2
    pool.close()
    assert not workers()


def test_a_burst_waits_for_the_workers_there_are_instead_of_starting_one_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = []

    class Counted(decode_pool._Worker):
        def __init__(self) -> None:
            started.append(self)
            super().__init__()

    monkeypatch.setattr(decode_pool, "_Worker", Counted)
    monkeypatch.setattr(decode_pool, "_PATIENCE_S", 60.0)
    pool = DecodePool(workers=24)
    with ThreadPoolExecutor(24) as threads:
        found = list(threads.map(lambda data: np.concatenate(list(pool.blocks(data))), [wav()] * 24))
    assert [len(waveform) for waveform in found] == [2 * RATE] * 24 and len(started) <= 2
    pool.close()


def test_workers_end_with_their_parent() -> None:
    code = (
        "import os, sys; from asr_adapt.audio.decode_pool import DecodePool; pool = DecodePool(1)\n"
        "blocks = pool.blocks(sys.stdin.buffer.read(), block_s=0.5); next(blocks)\n"
        "import psutil; print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=wav(60.0), capture_output=True, check=False)
    assert done.returncode == -9
    worker = int(done.stdout)
    for _ in range(300):
        if not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker is still there")


def test_workers_start_on_demand_and_only_spare_ones_stay() -> None:
    pool = DecodePool(workers=3, spare=1)
    recordings = [pool.blocks(wav(7.0), block_s=1.0) for _ in range(3)]
    assert [len(next(blocks)) for blocks in recordings] == [RATE] * 3
    assert len(workers()) == 3
    for blocks in recordings:
        blocks.close()
    assert len(workers()) == 1
    pool.close()
    assert not workers()
