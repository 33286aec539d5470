"""Values and bytes that break parsers, in tables and manifests: one line that names the file and its line."""

from pathlib import Path

import pytest

from asr_adapt import corpora
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", b'{"id": ' + b"[" * 100_000, r"t\.jsonl:1: not JSON"),
        ("t.jsonl", b'{"id": "a", "audio": "a\0.wav", "text": "x"}', r"t\.jsonl:1: the line holds a NUL"),
        ("t.csv", b"audio,text\na.wav,x\0\n", r"t\.csv:2: the line holds a NUL"),
        ("t.csv", b'audio,text\n"' + b"a" * 200_000 + b'",x\n', r"t\.csv:2: not CSV .*quotation mark missing"),
        ("t.csv", b'audio,text\na.wav,"x\nb.wav,y\n', r"t\.csv:3: not CSV .*quotation mark missing"),
        ("t.csv", b"audio,text,start\na.wav,x,inf\n", r"t\.csv:2: field 'start_s': must be a time"),
        ("t.csv", b"audio,text,end\na.wav,x,1e308\n", r"t\.csv:2: field 'end_s': must be a time"),
        ("t.tsv", "audio\ttext\na.wav\té\n".encode() + "b.wav\té\n".encode("latin-1"), r"t\.tsv:3: not UTF-8"),
        ("t.tsv", b"audio\ttext\na.wav\t" + b"x" * 17_000_000, r"t\.tsv:2: the line is longer than 16,000,000"),
        ("t.tsv", b"\xff\xfea\0u\0\x00\xd8", r"t\.tsv: not UTF-16"),
    ],
    ids=range(10),
)
def test_what_breaks_parsers_is_refused_with_its_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        corpora.read_all([Source(root=tmp_path / name)], "mi", allow_unsplit=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
