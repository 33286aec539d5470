"""doctor and new on full disks, and on names that no terminal, JSON file or page can show as they are."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asr_adapt.artifacts import PreparationSummary
from asr_adapt.cli import app
from asr_adapt.errors import InputError, printable

COMMAND = [sys.executable, "-c", "from asr_adapt.cli import main; main()"]


def write(root: Path, stems: list[str]) -> Path:
    """Write a folder of recordings with a text file each; a stem may have bytes that are not UTF-8."""
    for split in ("train", "dev", "test"):
        (root / split).mkdir(parents=True)
        for number, stem in enumerate(stems):
            noise = np.random.default_rng([number, len(split)]).standard_normal(16_000 * 12) * 0.1
            soundfile.write(os.fsencode(root / split / f"{stem}.wav"), noise, 16_000, format="WAV")
            (root / split / f"{stem}.txt").write_text(
                f"kia ora {split} {'abcdefgh'[number]} [noise]", encoding="utf-8"
            )
    return root


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_recipe_that_does_not_fit_on_the_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", ["a", "b", "c"])
    out = tmp_path / "out" / "r.py"
    with no_room():
        done = CliRunner().invoke(app, ["new", "mi", str(root), "--out", str(out)])
    assert isinstance(done.exception, InputError) and "cannot be written" in str(done.exception)
    assert list(out.parent.iterdir()) == []


def test_findings_that_do_not_fit_on_standard_output_are_one_line(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", ["a", "b", "c"])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "doctor", str(root), "--no-estimate"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: standard output: cannot be written")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a\u202eb", "a\udcffb", "<script>", "{{ 7 * 7 }}"])
def test_strange_names_are_escaped_in_findings_json_and_page(name: str, tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", ["~x", "~y", name])
    data, page = tmp_path / "found.json", tmp_path / "page.html"
    command = ["doctor", str(root), "--no-estimate", "--json", str(data), "--html", str(page)]
    done = CliRunner().invoke(app, command)
    if isinstance(done.exception, InputError):  # one line, and nothing half-written
        assert "\n" not in str(done.exception) and not data.exists() and not page.exists()
        return
    assert done.exit_code in (0, 2), done.exception
    json.loads(data.read_text(encoding="utf-8"))
    html = page.read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & {*html, *done.output}
    shown = html.partition("<main>")[2].partition("</main>")[0]
    assert "<script>" not in shown and "49" not in shown
    assert printable(name) in unescape(shown), "the clip is named"


@pytest.mark.parametrize(
    "language",
    ["\x1b[31mmi", "\udcff", "", " ", "../../etc/passwd", 'x"""', "a" * 100_000, "mi\0", "x-" * 20, "mi-" + "a" * 9],
    ids=range(10),
)  # fmt: skip
def test_a_hostile_language_name_is_one_line(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["asr-adapt", "new", "--", language, "corpus"])
    done = CliRunner().invoke(app, ["new", "--", language, "corpus"])
    assert isinstance(done.exception, InputError)
    said = str(done.exception)
    assert len(said) < 600 and not {"\x1b", "\n", "\0"} & {*said} and said.encode()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[]", b"null", b"{", b'{"alphabet": 3}', b"[" * 90_000, b""])
def test_a_damaged_doctor_json_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "doctor.json").write_bytes(content)
    with pytest.raises(InputError, match=r"doctor\.json") as error:
        PreparationSummary.read(tmp_path)
    assert len(str(error.value)) < 1000
