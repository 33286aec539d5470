"""Storage: files and folders are replaced atomically, and nothing partial stays behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr_adapt import storage
from asr_adapt.errors import InputError
from asr_adapt.storage import atomic_file, atomic_folder, write_text

PARTIAL = ".asr-adapt-0123456789abcdef.partial"


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / ("ŋ" * 125 + ".json")  # 255 bytes: the longest name there is
    write_text(path, "first")
    write_text(path, "é")
    assert path.read_bytes() == "é".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "x\ud800")
    assert (tmp_path / "a").read_text() == "old" and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_folder_is_replaced_with_all_that_is_in_it(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "model") as partial:
            (partial / content).write_text(content)
            (partial / "deep").mkdir()
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"new", "deep"}
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_folder_leaves_the_old_one_and_no_partial_one(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(error), atomic_folder(tmp_path / "model", sync=True) as partial:
        (partial / "half").write_text("half")
        raise error
    assert list(tmp_path.rglob("*")) == [tmp_path / "model"]


def test_a_partial_name_cannot_be_foreseen(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with atomic_file(tmp_path / "a") as partial:
            names.add(partial.name)
    assert len(names) == 20


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "kept").write_text("kept")
    (tmp_path / "file").symlink_to(target / "kept")
    (tmp_path / "folder").symlink_to(target)
    write_text(tmp_path / "file", "new")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (target / "kept").read_text() == "kept"
    assert not any((tmp_path / name).is_symlink() for name in ("file", "folder"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "file", "folder"]


def test_a_link_under_a_partial_name_is_neither_followed_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PARTIAL).symlink_to(tmp_path / "secret")
    monkeypatch.setattr(storage.secrets, "token_hex", lambda size: "0123456789abcdef")  # the attacker guessed it
    for attempt in (lambda: write_text(tmp_path / "a", "x"), lambda: atomic_folder(tmp_path / "b").__enter__()):
        with pytest.raises(FileExistsError):
            attempt()
    assert not (tmp_path / "secret").exists()


def test_files_in_a_folder_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as partial:
        (partial / "weights").touch(mode=0o600)
    umask = os.umask(0o022)
    os.umask(umask)
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == 0o666 & ~umask


def run(code: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False)


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(tmp_path: Path) -> None:
    killed = (
        "import os, signal, sys; from pathlib import Path; from asr_adapt.storage import atomic_file, atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1]) / 'model') as folder, atomic_file(Path(sys.argv[1]) / 'a'):\n"
        "    (folder / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert run(killed, tmp_path).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "b", "b")
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as file, atomic_folder(tmp_path / "model") as folder:
        (folder / "half").write_text("half")
        code = "import sys; from pathlib import Path; from asr_adapt import storage\n"
        assert run(code + "storage.write_text(Path(sys.argv[1]), '')", tmp_path / "b").returncode == 0
        assert file.exists() and (folder / "half").exists()


def test_a_folder_being_replaced_when_the_process_was_killed_is_still_found(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "best") as partial:
        (partial / "step").write_text("1")
    (tmp_path / "best").rename(tmp_path / ".best.old")  # killed between the two renames
    assert (storage.surviving(tmp_path / "best") / "step").read_text() == "1"
    with atomic_folder(tmp_path / "best") as partial:
        (partial / "step").write_text("2")
    assert (storage.surviving(tmp_path / "best") / "step").read_text() == "2"
    assert list(tmp_path.iterdir()) == [tmp_path / "best"]


def test_an_output_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/out: cannot be created \(Not a directory\)\. Give another"):
        storage.make_folder(tmp_path / "file" / "out", "Give another --out.")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lines_are_read_in_the_encodings_that_people_have_and_end_at_lf_only(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("a\u2028b\r\nɓ".encode(encoding))
    assert storage.read_lines(tmp_path / "a") == ["a\u2028b", "ɓ"]


@pytest.mark.parametrize("name", ["missing", "nul\0", "x" * 10_000])
def test_a_text_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        storage.read_text(tmp_path / name)


def test_a_fifo_is_not_waited_for_when_recordings_are_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.wav")
    assert storage.content_digests([str(tmp_path / "clip.wav")]) == {str(tmp_path / "clip.wav"): None}
