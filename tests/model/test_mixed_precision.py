"""Mixed precision: fp32 or bf16, by measurement, and kept when work is resumed."""

from collections.abc import Iterator

import pytest
import torch

from asr_adapt.model import mixed_precision
from asr_adapt.model.mixed_precision import Precision


@pytest.fixture
def unmeasured() -> Iterator[None]:
    """No measurement of this process counts, and none of a test's counts later."""
    mixed_precision._fastest_on_this_processor.cache_clear()
    yield
    mixed_precision._fastest_on_this_processor.cache_clear()


@pytest.mark.parametrize(
    ("fp32_ms", "bf16_ms", "chosen"),
    [
        ([9.0, 5.0, 4.0, 6.0], [9.0, 3.0, 2.0, 9.0], "bf16"),
        ([9.0, 2.0, 2.5, 2.0], [9.0, 4.0, 4.0, 4.0], "fp32"),  # it has the instructions, and they are slow
        ([9.0, 2.2, 2.2, 2.2], [9.0, 2.0, 2.0, 2.0], "fp32"),  # not clearly faster
        ([9.0, 2.0, 2.0, 2.0], [0.1, 2.0, 2.0, 2.0], "fp32"),  # the first makes a kernel, and does not count
        ([9.0, 9.0, 9.0, 3.0], [9.0, 9.0, 2.0, 9.0], "bf16"),  # other work disturbs most of them
    ],
)
def test_bf16_is_taken_where_it_is_measured_to_be_a_fifth_faster_and_once_in_a_process(
    fp32_ms: list[float],
    bf16_ms: list[float],
    chosen: str,
    unmeasured: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = {"fp32": list(fp32_ms), "bf16": list(bf16_ms)}
    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(mixed_precision, "_seconds_to_multiply", lambda precision: left[precision].pop(0) / 1e3)
    cpu = torch.device("cpu")
    assert mixed_precision.fastest(cpu) == mixed_precision.fastest(cpu) == chosen
    assert left == {"fp32": [], "bf16": []}


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (False, False)])
def test_nothing_is_measured_without_instructions_for_bf16_nor_on_a_gpu(
    avx512: bool, amx: bool, unmeasured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(precision: str) -> float:
        raise AssertionError(precision)

    monkeypatch.setattr(mixed_precision, "_seconds_to_multiply", measured)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    if avx512 or amx:
        with pytest.raises(AssertionError, match="fp32"):
            mixed_precision.fastest(torch.device("cpu"))
    else:
        assert mixed_precision.fastest(torch.device("cpu")) == "fp32"
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert mixed_precision.fastest(torch.device("cuda")) == ("bf16" if has else "fp32")


def test_measuring_takes_no_random_number_from_training(unmeasured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: True)
    before = torch.get_rng_state()
    assert mixed_precision.fastest(torch.device("cpu")) in ("fp32", "bf16")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("kept", "has_bf16", "goes_on_in"),
    [("fp32", True, "fp32"), ("bf16", True, "bf16"), ("bf16", False, "fp32"), ("fp32", False, "fp32")],
)
def test_what_was_begun_in_a_precision_goes_on_in_it_where_the_device_has_it(
    kept: Precision, has_bf16: bool, goes_on_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "bf16" if has_bf16 and kept == "fp32" else "fp32"
    monkeypatch.setattr(mixed_precision, "has_bf16", lambda device: has_bf16)
    monkeypatch.setattr(mixed_precision, "fastest", lambda device: other)
    assert mixed_precision.recorded_or_fastest(kept, torch.device("cpu")) == goes_on_in
    assert mixed_precision.recorded_or_fastest(None, torch.device("cpu")) == other
