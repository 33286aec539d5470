"""The tutorial of docs/fieldwork.md: its commands, word for word, on recordings of a language of tones."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, ROOT, say, sentences
from pympi import Elan

from asr_adapt.cli import main

TUTORIAL = (ROOT / "docs" / "fieldwork.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```\n(.*?)^```", TUTORIAL, re.M | re.S) for line in block.splitlines()]
SENTENCES, PAUSE_S = 5, 0.6


def run(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "asr-adapt"
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, command


def record(folder: Path, number: int, *, transcribed: bool) -> list[tuple[int, int, str]]:
    """Write a recording of some sentences, and its transcript in ELAN; return `(start, end, text)` in ms."""
    pieces, spans, at = [np.zeros(RATE_HZ // 2, np.float32)], [], 500
    for text in sentences(SENTENCES, seed=number):
        spoken = say(text, number)
        spans.append((at, at + len(spoken) * 1000 // RATE_HZ, text))
        pieces += [spoken, np.zeros(int(PAUSE_S * RATE_HZ), np.float32)]
        at += len(spoken) * 1000 // RATE_HZ + int(PAUSE_S * 1000)
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / f"{number:02}.wav", np.concatenate(pieces), RATE_HZ)
    if transcribed:
        document = Elan.Eaf(author="a linguist")
        document.add_tier("sentences")
        for span in spans:
            document.add_annotation("sentences", *span)
        document.remove_tier("default")
        document.add_linked_file(f"{number:02}.wav", relpath=f"./{number:02}.wav", mimetype="audio/x-wav")
        document.to_file(str(folder / f"{number:02}.eaf"))
    return spans


def correct(path: Path, spans: list[tuple[int, int, str]]) -> int:
    """Correct the draft of a recording as a person would; return how many of its segments changed."""
    document, changed = Elan.Eaf(str(path)), 0
    tier = next(name for name in document.get_tier_names() if not document.tiers[name][2].get("PARENT_REF"))
    for start, end, draft in document.get_annotation_data_for_tier(tier):
        text = next((text for begin, until, text in spans if begin < (start + end) / 2 < until), draft)
        if text != draft:
            document.remove_annotation(tier, (start + end) // 2)
            document.add_annotation(tier, start, end, text)
            changed += 1
    document.to_file(str(path))
    return changed


@pytest.mark.slow
@pytest.mark.usefixtures("tones_are_speech")
def test_the_commands_of_the_tutorial_work_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "recordings"
    spans = {number: record(folder, number, transcribed=number < 12) for number in range(16)}
    people = {path: path.read_bytes() for path in folder.glob("*.eaf")}
    doctor, new, first, draft, second, following = COMMANDS
    run(monkeypatch, doctor)
    run(monkeypatch, new)
    # The preset's steps would take an hour here.
    recipe = tmp_path / "recipes" / "mdw.py"
    text = recipe.read_text(encoding="utf-8")
    text = text.replace("import ", "import Train, ", 1).replace(
        "RECIPE = Recipe(", "RECIPE = Recipe(\n    train=Train(steps=40, batch_s=5),"
    )
    recipe.write_text(text, encoding="utf-8")
    run(monkeypatch, first)
    record(folder, 16, transcribed=False)
    run(monkeypatch, draft)
    drafted = [folder / f"{number}.eaf" for number in range(12, 17)]
    assert all(path.is_file() for path in drafted)
    corrected = sum(correct(path, spans[int(path.stem)]) for path in drafted[:2])
    assert corrected
    capsys.readouterr()
    run(monkeypatch, second)
    assert re.search(rf"since round 1: {corrected} segments? corrected", capsys.readouterr().err)
    assert (tmp_path / "rounds" / "rounds.html").is_file()
    run(monkeypatch, following)
    assert all(path.read_bytes() == before for path, before in people.items())
    assert list((tmp_path / "next").glob("*.eaf"))
    assert "14.wav" in capsys.readouterr().out


def test_the_tutorial_is_linked_and_its_commands_are_whole_lines() -> None:
    assert "docs/fieldwork.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(line.startswith("asr-adapt ") for line in COMMANDS)
