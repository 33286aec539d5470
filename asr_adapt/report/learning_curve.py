"""`curve.json` and `curve.html`: a learning curve as `asr-adapt curve` found it."""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from asr_adapt import __version__
from asr_adapt.artifacts import Artifact
from asr_adapt.report.curves import HEIGHT, WIDTH, Chart, Drawn, ticks
from asr_adapt.report.render import render

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 64, 12, 28
_ROUND = (1, 5, 15, 30, *(60 * 2**power for power in range(12)))  # minutes
_TICKS_APART = 45  # pixels


class Size(BaseModel):
    """One amount of training speech; error rates are fractions, one for each run."""

    model_config = ConfigDict(frozen=True)

    minutes: float
    """of speech that was trained on, the mean of the runs"""
    steps: tuple[int, ...]
    train_s: tuple[float, ...]
    """seconds of training, without validation"""
    wer: tuple[float, ...]
    cer: tuple[float, ...]
    gain: tuple[float, ...]
    """character errors saved, as a share of those against the references of other clips of like length"""
    has_learned: bool
    """whether that gain is more than chance in every run"""


class Prediction(BaseModel):
    """What a training run with so much speech of this kind is expected to reach, and the 95 % band of such runs."""

    model_config = ConfigDict(frozen=True)

    hours: float
    value: float
    low: float
    high: float


class Curve(BaseModel):
    """error rate = floor + scale · hours^-exponent."""

    model_config = ConfigDict(frozen=True)

    floor: float
    scale: float
    exponent: float
    fitted_minutes: tuple[float, ...]
    """sizes in the fit"""
    band: tuple[Prediction, ...]
    """along the curve, from the smallest size in the fit to four times the largest"""
    predictions: tuple[Prediction, ...]


class Curves(Artifact):
    """`curve.json`."""

    language: str
    base: str
    budget: str
    """by what the steps of each size were chosen, in words"""
    seeds: tuple[int, ...]
    test_utterances: int
    untrained: tuple[float, float] | None
    """WER and CER of the base model with its own letters, before any training; None where the head is all new"""
    sizes: tuple[Size, ...]
    cer: Curve | None
    wer: Curve | None
    limit_hours: float
    """nothing is predicted beyond"""
    notes: tuple[str, ...]
    """sizes that are not in a fit, and why there is none"""
    verdict: str


def page(found: Curves) -> str:
    """Return the page of a learning curve."""
    return render(
        "curve.html",
        found=found,
        charts=[chart(name.upper(), found, name) for name in ("cer", "wer")],
        chart_size=(WIDTH, HEIGHT),
        version=__version__,
    )


def chart(title: str, found: Curves, name: str) -> Chart:
    """Lay out the runs of one error rate over a logarithmic axis of minutes, with the fitted curve and its band."""
    fit: Curve | None = getattr(found, name)
    runs = [(size.minutes, rate) for size in found.sizes for rate in getattr(size, name)]
    band = fit.band if fit else ()
    first = min(x for x, _ in runs)
    last = max([x for x, _ in runs] + [60 * p.hours for p in band])
    up = ticks(min(1.5, max([y for _, y in runs] + [p.high for p in band])), 5)

    def x_of(minutes: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * math.log(minutes / first) / math.log(last / first), 1)

    def y_of(rate: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(rate, up[-1]) / up[-1], 1)

    def path(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x_of(60 * hours)},{y_of(rate)}" for hours, rate in points)

    line = Drawn(
        name=title,
        path=path([(p.hours, p.value) for p in band]),
        marks=[(x_of(x), y_of(y), f"{x:.3g} min: {title} {y:.3f}") for x, y in runs],
        label_y=y_of(band[-1].value if band else runs[-1][1]),
        band=path([*((p.hours, p.high) for p in band), *((p.hours, p.low) for p in reversed(band))]),
    )
    across: list[tuple[float, str]] = []
    for minutes in _ROUND:
        if first <= minutes * 1.01 and minutes <= last * 1.01:
            x = x_of(max(minutes, first))
            if not across or x - across[-1][0] >= _TICKS_APART:
                across.append((x, f"{minutes} min" if minutes < 60 else f"{minutes / 60:g} h"))
    return Chart(
        title=title,
        summary="; ".join(f"{rate:.3f} with {minutes:.3g} min" for minutes, rate in runs),
        lines=[line],
        across=across,
        up=[(y_of(tick), f"{tick:g}") for tick in up],
    )
