"""Fuzzes the TextGrid reader: any file gives utterances with possible times, or one line."""

import tempfile
from pathlib import Path

from hypothesis import strategies as st
from runner import Target, main, mutated

from asr_adapt.corpora.readers import praat
from asr_adapt.recipe import Source

_LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "Ani"
        xmin = 0
        xmax = 2
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "kia ""ora"""
        intervals [2]:
            xmin = 1.5
            xmax = 2
            text = ""
    item [2]:
        class = "TextTier"
        name = "points"
        xmin = 0
        xmax = 2
        points: size = 1
        points [1]:
            number = 0.5
            mark = "x"
'''
_SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2
<exists>
2
"IntervalTier"
"Ani"
0
2
1
0
2
"kia ora"
"IntervalTier"
"Ani"
0
2
1
0
2
"tēnā koe"
"""
_VALUES = ("", "0", "-1", "1e308", "1e999", "nan", "inf", "9" * 400, "<exists>", '"', '""', '"IntervalTier"', "2.5.1")
_WINDOWS = _SHORT.replace("\n", "\r\n").encode("latin-1", "replace")
_SEEDS = [_LONG.encode(), _SHORT.encode(), _LONG.encode("utf-16"), _WINDOWS]


@st.composite
def changed_lines(draw: st.DrawFn) -> bytes:
    """Return a file in which some lines have other values, are missing, or occur twice."""
    lines = draw(st.sampled_from((_LONG, _SHORT))).split("\n")
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[at].partition("= ")
        lines[at : at + 1] = draw(
            st.sampled_from(([], [lines[at]] * 2, [f"{key}{equals}{draw(st.sampled_from(_VALUES))}"]))
        ) or [""]
    return "\n".join(lines).encode()


def read_one(value: tuple[bytes, tuple[str, ...]]) -> None:
    """Read a file with a choice of tiers."""
    data, tiers = value
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.TextGrid").write_bytes(data)
        for utterance in praat.read(Path(folder), "mi", Source(tiers=tiers)):
            assert utterance.start_s is not None and utterance.text


TARGET = Target(
    "textgrid",
    st.tuples(changed_lines() | mutated(_SEEDS), st.sampled_from(((), ("Ani",), ("Ani (2)",), ("nothing",)))),
    read_one,
)

if __name__ == "__main__":
    main(TARGET)
