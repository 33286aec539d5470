"""The page of a learning curve: its points, its band, and its words."""

import re

import pytest

from asr_adapt.report.learning_curve import Curve, Curves, Prediction, Size, chart, page


def curves(fit: bool = True) -> Curves:
    def expected(hours: float) -> Prediction:
        return Prediction(hours=hours, value=0.3 * hours**-0.3, low=0.28 * hours**-0.3, high=0.33 * hours**-0.3)

    law = Curve(
        floor=0.0,
        scale=0.3,
        exponent=0.3,
        fitted_minutes=(5, 15, 60),
        band=tuple(expected(h) for h in (5 / 60, 0.5, 4.0)),
        predictions=(expected(2.0), expected(4.0)),
    )
    return Curves(
        language="mdw",
        base="<base>",
        budget="100 steps for each size",
        seeds=(1, 2),
        test_utterances=1200,
        untrained=(1.1, 0.7),
        sizes=tuple(
            Size(minutes=m, steps=(100, 100), train_s=(60, 66), wer=(0.9, 1.0), cer=(c, c + 0.02), gain=(0.4, 0.4),
                 has_learned=m > 1)
            for m, c in ((1, 0.8), (5, 0.6), (15, 0.45), (60, 0.3))
        ),
        cer=law if fit else None,
        wer=None,
        limit_hours=4.0,
        notes=("1 min: nothing was learned yet; not in the fits",),
        verdict="Another hour of speech brings less than < it did.",
    )  # fmt: skip


def test_the_page_has_every_run_as_a_point_and_its_words_escaped() -> None:
    text = page(curves())
    assert text.count("<circle") == 16 and text.count("<polygon") == 1
    assert "&lt;base&gt;" in text and "less than &lt; it did" in text
    assert "0.244" in text and "1,200 utterances" in text and "nothing learned" in text


def test_the_horizontal_axis_is_logarithmic_and_reaches_the_furthest_prediction() -> None:
    drawn = chart("CER", curves(), "cer")
    (line,) = drawn.lines
    points = [float(point.split(",")[0]) for point in line.path.split()]
    assert points[-1] == pytest.approx(drawn.right, abs=0.2)
    at = {text: x for x, text in drawn.across}
    assert at["1 min"] == drawn.left
    ratio = (at["15 min"] - at["1 min"]) / (at["4 h"] - at["1 min"])
    assert ratio == pytest.approx(0.494, abs=0.01)  # log 15 / log 240


def test_without_a_fit_there_are_points_alone() -> None:
    (line,) = chart("WER", curves(fit=False), "wer").lines
    assert not line.path and not line.band and len(line.marks) == 8
    assert not re.search(r"<polygon", page(curves(fit=False)))
