"""Archives of corpora are unpacked with bounds, and an archive that is refused leaves nothing in the cache."""

import gzip
import io
import logging
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_adapt import corpora
from asr_adapt.corpora.unpacked import unpack_tar
from asr_adapt.errors import InputError
from asr_adapt.recipe import Source
from asr_adapt.records import Utterance

TABLE = b"path\tsentence\n" + b"".join(b"%d.wav\tx\n" % i for i in range(3))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def member(name: str, content: bytes = b"", **fields: object) -> bytes:
    """Return a member's header and content as they are in a tar archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    padding = b"\0" * (-len(content) % 512)
    return info.tobuf(tarfile.PAX_FORMAT) + content + padding


def packed(path: Path, *members: bytes) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in (member("mi/validated.tsv", TABLE), *members, b"\0" * 1024):
            file.write(part)
    return path


def read(root: Path, **options: object) -> list[Utterance]:
    return corpora.read_all([Source(root=root, **options)], "mi").utterances


@pytest.mark.parametrize("suffix", ["gz", "bz2", ""])
def test_an_archive_is_read_whatever_it_is_compressed_with(tmp_path: Path, cache: Path, suffix: str) -> None:
    path = tmp_path / "cv.tar.gz"
    with tarfile.open(path, f"w:{suffix}") as tar:
        info = tarfile.TarInfo("cv/mi/validated.tsv")
        info.size = len(TABLE)
        tar.addfile(info, io.BytesIO(TABLE))
    assert [u.id for u in read(path)] == ["0.wav", "1.wav", "2.wav"]


def test_a_clip_above_the_bound_refuses_the_archive_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    path = packed(tmp_path / "cv.tar.gz", member("mi/clips/a.wav", bytes(2_000_001)))
    with pytest.raises(InputError, match=r"cv\.tar\.gz#mi/clips/a\.wav: has 2 MB, more than 2 MB\. .*max_clip_mb"):
        read(path, max_clip_mb=2)
    assert not [entry for entry in cache.rglob("*") if entry.suffix != ".lock"]
    assert len(read(path, max_clip_mb=2.1)) == 3


def test_a_member_that_claims_to_be_huge_is_refused_by_its_header_alone(tmp_path: Path, cache: Path) -> None:
    path = packed(tmp_path / "cv.tar.gz", member("mi/clips/a.wav", b"RIFF", size=6 << 30))
    with pytest.raises(InputError, match="has 6,442 MB, more than 1000 MB"):
        read(path)
    assert not [entry for entry in cache.rglob("*") if entry.suffix != ".lock"]


def test_a_sparse_file_is_refused_before_it_is_written(tmp_path: Path, cache: Path) -> None:
    old = bytearray(member("mi/clips/a.wav", b"", size=0))
    old[156:157] = tarfile.GNUTYPE_SPARSE
    old[483:495] = b"%011o\0" % (3 << 30)  # the size after unpacking
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old[:512])
    pax = member("mi/clips/a.wav", b"", pax_headers={"GNU.sparse.size": str(3 << 30), "GNU.sparse.map": "0,0"})
    for header in (bytes(old), pax):
        with pytest.raises(InputError, match=r"#mi/clips/a\.wav: is a sparse file\. Pack the archive without"):
            read(packed(tmp_path / "cv.tar.gz", header))
        assert not [entry for entry in cache.rglob("*") if entry.suffix != ".lock"]


@pytest.mark.parametrize(
    "header",
    [
        member("mi/clips/a.wav", b"x", pax_headers={"path": "mi/clips/a\0.wav"}),
        member("mi/clips/..", b"x"),
        member("mi/clips/" + "x" * 300 + ".wav", b"x"),
        member("mi/clips", b"x") + member("mi/clips/a.tsv", b"x"),
        member("mi/validated.tsv/a.tsv", b"x"),
        member("x", b"7 a=b\n" * 3, type=tarfile.XHDTYPE),
        member("a", type=tarfile.XHDTYPE) * 1020,
        member("a", size=-1024),
        b"\xff" * 512,
    ],
    ids=["nul", "parent", "long", "file as folder", "table as folder", "pax", "chain", "negative", "noise"],
)
def test_an_odd_member_is_skipped_or_one_line_and_no_traceback(tmp_path: Path, cache: Path, header: bytes) -> None:
    try:
        assert len(read(packed(tmp_path / "cv.tar.gz", header))) == 3
    except InputError as error:
        assert str(error).startswith(f"{tmp_path / 'cv.tar.gz'}: cannot be unpacked (")
        assert not [entry for entry in cache.rglob("*") if entry.suffix != ".lock"]


def test_long_headers_are_refused_in_bounded_memory(tmp_path: Path, cache: Path) -> None:
    huge = member("././@LongLink", bytes(100_000_000), type=tarfile.GNUTYPE_LONGNAME)
    path = packed(tmp_path / "cv.tar.gz", huge)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="the headers of a member are too long"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_what_is_not_wanted_is_read_past_whatever_its_size(tmp_path: Path, cache: Path) -> None:
    path = packed(tmp_path / "cv.tar.gz", member("mi/README", bytes(5_000_000)), member("mi/clips/a.wav", b"RIFF"))
    assert len(read(path, max_clip_mb=2)) == 3


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_devices_and_fifos_are_not_created_and_are_counted(
    tmp_path: Path, kind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = packed(tmp_path / "cv.tar.gz", member("mi/clips/a.wav", type=kind, linkname="/etc/passwd"))
    out = tmp_path / "out"
    out.mkdir()
    as_it_is: Callable = lambda name: name  # noqa: E731
    with caplog.at_level(logging.WARNING):
        unpack_tar(path, out, as_it_is, 1)
    assert [entry.name for entry in out.rglob("*") if not entry.is_dir()] == ["validated.tsv"]
    assert "1 links or devices were not unpacked, the first: 'mi/clips/a.wav'" in caplog.text


def test_an_archive_without_the_tables_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "cv.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(member("mi/clips/a.wav", b"RIFF") + b"\0" * 1024)
    with pytest.raises(InputError, match="holds none of Common Voice's tables"):
        read(path)
    assert not [entry for entry in cache.rglob("*") if entry.suffix != ".lock"]
