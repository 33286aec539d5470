"""Which files of a folder are recordings or transcripts, and in which order."""

from pathlib import Path

from asr_adapt.audio import media


def test_files_are_listed_as_globbing_lists_them_and_hidden_ones_are_not(tmp_path: Path) -> None:
    names = ["a.txt", "a/b.TXT", "a/b/c.txt", "a-b/c.txt", "A/x.txt", ".x/y.txt", "__MACOSX/z.txt", "a/._b.txt",
             "d.wav", "f.txt.bak"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    (tmp_path / "linked.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    found = media.below(tmp_path, (".txt",))
    assert found == [p for p in media.visible(tmp_path) if p.suffix.lower() == ".txt" and p.is_file()]
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "A/x.txt", "a/b/c.txt", "a/b.TXT", "a-b/c.txt", "a.txt", "linked.txt"]  # fmt: skip


def test_what_is_no_folder_has_no_files(tmp_path: Path) -> None:
    assert media.below(tmp_path / "nowhere", (".txt",)) == []
    (tmp_path / "file.txt").touch()
    assert media.below(tmp_path / "file.txt", (".txt",)) == []
