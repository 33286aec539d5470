"""Fuzzes the ELAN reader: any .eaf file gives utterances with possible times, or one line."""

import tempfile
from pathlib import Path

from hypothesis import strategies as st
from runner import Target, main, mutated

from asr_adapt.corpora.readers import elan
from asr_adapt.recipe import Source

_IDS = ("a1", "a2", "a3", "a4", "gone")
_SLOTS = ("ts1", "ts2", "ts3", "ts4", "gone")
_TIERS = ("tx@A", "w", "m", "Note")


def _document(*tiers: str, slots: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="x" VERSION="3.0"><HEADER MEDIA_FILE="" '
        'TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/a%20b.wav" MIME_TYPE="audio/x-wav" '
        f'RELATIVE_MEDIA_URL="./a.wav" TIME_ORIGIN="10"/></HEADER><TIME_ORDER>{slots}</TIME_ORDER>{"".join(tiers)}'
        "</ANNOTATION_DOCUMENT>"
    )


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Return well-formed files whose references, times and order are anything."""
    times = st.sampled_from(("", "0", "5", "1000", "-1", "1e308", "nan", "9" * 30, "x")) | st.integers(0, 9).map(str)
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + (f' TIME_VALUE="{time}"/>' if (time := draw(times)) else "/>")
        for name in draw(st.permutations(_SLOTS[:4]))
    )
    tiers = []
    for name in draw(st.lists(st.sampled_from(_TIERS), max_size=5)):
        items = []
        for _ in range(draw(st.integers(0, 5))):
            item, other, previous = (draw(st.sampled_from(_IDS)) for _ in range(3))
            first, last = (draw(st.sampled_from(_SLOTS)) for _ in range(2))
            value = f"<ANNOTATION_VALUE>{draw(st.sampled_from(('', ' ', 'kia ora', '&amp;')))}</ANNOTATION_VALUE>"
            kind, attributes = draw(
                st.sampled_from(
                    (
                        ("ALIGNABLE_ANNOTATION", f'TIME_SLOT_REF1="{first}" TIME_SLOT_REF2="{last}"'),
                        ("REF_ANNOTATION", f'ANNOTATION_REF="{other}"'),
                        ("REF_ANNOTATION", f'ANNOTATION_REF="{other}" PREVIOUS_ANNOTATION="{previous}"'),
                    )
                )
            )
            items.append(f'<ANNOTATION><{kind} ANNOTATION_ID="{item}" {attributes}>{value}</{kind}></ANNOTATION>')
        parent = draw(st.sampled_from(("", *_TIERS)))
        above = f' PARENT_REF="{parent}"' if parent else ""
        tiers.append(f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="lt"{above}>{"".join(items)}</TIER>')
    return _document(*tiers, slots=slots).encode()


def _seed(words: str) -> bytes:
    sentence = (
        '<TIER TIER_ID="tx@A" LINGUISTIC_TYPE_REF="lt" PARTICIPANT="Ani"><ANNOTATION><ALIGNABLE_ANNOTATION '
        'ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts4"><ANNOTATION_VALUE>kia ora</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
    )
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{n}"{time}/>'
        for n, time in ((1, ' TIME_VALUE="0"'), (2, ""), (4, ' TIME_VALUE="9"'))
    )
    return _document(sentence, f'<TIER TIER_ID="w" PARENT_REF="tx@A">{words}</TIER>', slots=slots).encode()


_SEEDS = [
    _seed(
        '<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1"><ANNOTATION_VALUE>kia</ANNOTATION_VALUE>'
        "</REF_ANNOTATION></ANNOTATION>"
    ),
    _seed(
        '<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">'
        "<ANNOTATION_VALUE>ora</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
    ),
    b'<!DOCTYPE a [<!ENTITY a "haha">]><ANNOTATION_DOCUMENT>&a;</ANNOTATION_DOCUMENT>',
]


def read_one(value: tuple[bytes, tuple[str, ...]]) -> None:
    """Read a file with a choice of tiers."""
    data, tiers = value
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.eaf").write_bytes(data)
        for utterance in elan.read(Path(folder), "mi", Source(tiers=tiers)):
            assert utterance.start_s is not None and utterance.text


TARGET = Target(
    "eaf",
    st.tuples(
        documents() | mutated(_SEEDS), st.sampled_from(((), ("tx",), ("w",), ("tx@A", "m"), ("lt",), ("nothing",)))
    ),
    read_one,
)

if __name__ == "__main__":
    main(TARGET)
