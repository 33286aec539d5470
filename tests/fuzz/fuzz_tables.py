"""Fuzzes the readers of tables, manifests and other text formats: damaged files, and hostile values in good ones."""

import gzip
import io
import json
import math
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from runner import Target, main, mutated

from asr_adapt import corpora
from asr_adapt.recipe import Source

ROW = {"id": "a", "audio": "a.wav", "text": "kia ora", "start_s": 0.5, "end_s": 1.5, "split": "train", "speaker": "s"}
NEMO = {"audio_filepath": "a.wav", "text": "kia ora", "duration": 1.0, "offset": 0.5, "lang": "mi", "speaker": "s"}
CUT = {
    "id": "c",
    "start": 0.0,
    "duration": 2.0,
    "channel": 0,
    "type": "MonoCut",
    "supervisions": [{"id": "s", "recording_id": "r", "start": 0.5, "duration": 1.0, "text": "kia ora"}],
    "recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "duration": 2.0},
}
TRS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Trans audio_filename="a"><Speakers>'
    '<Speaker id="s" name="Z"/></Speakers>'
    '<Episode><Section><Turn startTime="0" endTime="2" speaker="s"><Sync time="0"/>kia<Sync time="1"/>ora</Turn>'
    "</Section></Episode></Trans>"
)
CHA = (
    "@UTF8\n@Begin\n@Participants:\tCHI Ross Child\n@Media:\ta, audio\n*CHI:\tkia ora . \x15100_1500\x15\n%mor:\tx\n"
)
SRT = "1\n00:00:01,000 --> 00:00:02,500\nkia ora\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>ora</i>\n"
VTT = "WEBVTT\n\n00:01.000 --> 00:02.500 align:start\n<v Aroha>kia ora\n"
TABLE = 'audio,text,start,end,split,speaker\na.wav,kia ora,0.5,1.5,train,s\na.wav,"x, y",1.5,"2,5",train,s\n'
HOSTILE = (
    "\0", "inf", "nan", "1e308", "-1", "1e999", "9" * 5_000, "1:2:3:4", "A" * 140_000, "../../etc/passwd",
    "/dev/zero",
    "C:\\a.wav", "\\\\s\\a.wav", "file:///a.wav", "https://a/a.wav", "a.wav#b", "~/a.wav", "~nobody/a", '"', "'", "",
    "\ud800", "\u2028", "\r", "\x15", "#", "a" * 5_000 + ".wav", "[" * 100_000, "{" * 100_000, "\ufeff",
)  # fmt: skip


def _xlsx() -> bytes:
    """Return the smallest workbook that openpyxl reads, with a table in it."""
    cells = [["audio", "text", "start"], ["a.wav", "kia ora", "0.5"]]
    rows = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{value}</t></is></c>' for value in row) + "</row>"
        for row in cells
    )
    main_ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    sheet_type = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    members = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{sheet_type}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{sheet_type}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main_ns}" xmlns:r="{office}"><sheets>'
        '<sheet name="train" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main_ns}"><sheetData>{rows}</sheetData></worksheet>',
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:  # stored, so that edits reach the XML
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


SEEDS: dict[tuple[str, str], list[bytes]] = {
    ("table", "t.csv"): [TABLE.encode(), TABLE.replace(",", ";").encode("utf-16"), b"sep=;\naudio;text\na;b\n"],
    ("table", "t.tsv"): [b"audio\ttext\tstart\na.wav\tkia ora\t1\n", b'"audio"\t"text"\n"a"\t"b"\n'],
    ("common_voice", "train.tsv"): [b"client_id\tpath\tsentence\tlocale\ns\ta.wav\tkia ora\tmi\n"],
    ("common_voice_spontaneous", "ss-corpus-mi.tsv"): [b"client_id\taudio_file\tduration_ms\ttranscription\tsplit\n"
                                                       b"s\ta.wav\t1000\tkia ora\ttrain\n"],
    ("audio_folder", "metadata.csv"): [b'file_name,text\na.wav,"kia ora"\n'],
    ("audio_folder", "metadata.jsonl"): [b'{"file_name": "a.wav", "text": "kia ora"}\n'],
    ("fleurs", "train.tsv"): [b"7\ta.wav\tKia ora.\tkia ora\tk i a\t1600\tMALE\n"],
    ("ljspeech", "metadata.csv"): [b"a|kia ora|kia ora\nb|x|x\n"],
    ("ljspeech", "line_index.tsv"): [b"a\tkia ora\n"],
    ("manifest", "m.jsonl"): [(json.dumps(ROW) + "\n").encode()],
    ("nemo", "m.json"): [(json.dumps(NEMO) + "\n").encode()],
    ("lhotse", "cuts.jsonl"): [(json.dumps(CUT) + "\n").encode()],
    ("lhotse", "cuts.jsonl.gz"): [gzip.compress((json.dumps(CUT) + "\n").encode(), mtime=0)],
    ("kaldi", "segments"): [b"u1 a 0.5 1.5\nu2 a 2 -1\n"],
    ("kaldi", "wav.scp"): [b"a a.wav\nb flac -c -d b.flac |\n"],
    ("subtitles", "a.srt"): [SRT.encode()],
    ("subtitles", "a.vtt"): [VTT.encode()],
    ("audacity", "a.txt"): [b"0.5\t1.5\tkia ora\n\\\t100\t200\n2,0\t3,0\tx\n"],
    ("transcriber", "a.trs"): [TRS.encode(), TRS.replace("UTF-8", "ISO-8859-1").encode("latin-1")],
    ("chat", "a.cha"): [CHA.encode()],
    ("xlsx", "t.xlsx"): [_xlsx()],
}  # fmt: skip


@st.composite
def with_hostile_values(draw: st.DrawFn, name: str, seeds: list[bytes]) -> bytes:
    """Return a file in which a value or two is a hostile one."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 2))):
        value = draw(st.sampled_from(HOSTILE)).encode("utf-8", "surrogatepass")
        old = draw(st.sampled_from((b"a.wav", b"kia ora", b"0.5", b"1.5", b"train", b"1000", b"100", b'"a"', b"s")))
        if draw(st.booleans()) and name.endswith((".jsonl", ".json")):
            value = draw(st.sampled_from((b"1e308", b"Infinity", b"NaN", b"9" * 5_000, b"[]", b"{}", b"null", b"-1")))
            old = b'"' + old + b'"'
        data = data.replace(old, value, draw(st.integers(1, 2)))
    return data


def inputs() -> st.SearchStrategy[Any]:
    """Return a strategy of `(format, file's name, content)`."""
    return st.one_of(
        *(
            st.tuples(st.just(kind), st.just(name), mutated(seeds) | with_hostile_values(name, seeds))
            for (kind, name), seeds in SEEDS.items()
        )
    )


def read_one(value: tuple[str, str, bytes]) -> None:
    """Read one corpus; what is read has finite times in order, texts, and recordings inside or as they were named."""
    kind, name, data = value
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "corpus"
        root.mkdir()
        (root / "a.wav").write_bytes(b"")
        if kind == "kaldi":
            (root / "wav.scp").write_bytes(b"a a.wav\n")
            (root / "text").write_bytes(b"u1 kia ora\nu2 x\n" if name == "segments" else b"a kia ora\n")
        (root / name).write_bytes(data)
        whole = kind in ("manifest", "nemo", "lhotse", "table", "xlsx")
        corpus = root / name if whole else root
        found = corpora.read_all([Source(root=corpus, format=kind)], "mi", allow_unsplit=True).utterances
        for utterance in found:
            times = [t for t in (utterance.start_s, utterance.end_s, utterance.duration_s) if t is not None]
            assert all(math.isfinite(t) and t >= 0 for t in times), times
            assert "\0" not in utterance.audio and utterance.text is not None
        corpora.read_all([Source(root=corpus)], "mi", allow_unsplit=True)  # whatever it is recognised as


TARGET = Target("tables", inputs(), read_one)

if __name__ == "__main__":
    main(TARGET)
