"""A corpus spoiled in every way at once: new, doctor --fix and run make a model of it without an editor."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, say, sentences
from pympi import Eaf
from typer.testing import CliRunner

from asr_adapt.cli import app
from asr_adapt.recipe_script import load

FILES, CLIPS = 8, 18


def spoil(number: int, text: str) -> str:
    """Return the transcript of a clip as careless and careful transcribers write it."""
    kinds = [
        "{}", "[noise] {}", "{} (laughs)", "A: {}", "{} xxx", "{} &=coughs", "{}\u00ad", "\ufeff{}", "{{breath}} {}",
        "00:01:23 {}", "<unk> {}", "{}¹", "(laughs)", "", "{} [unclear]", "@@ {}", "*** {}", r"{} \ng",
    ]  # fmt: skip
    return kinds[number % len(kinds)].format(text)


def write_spoiled(root: Path) -> Path:
    """Write ELAN files with two tiers, without splits, that name their recordings by another machine's paths."""
    root.mkdir()
    texts = iter(sentences(FILES * CLIPS, seed=3))
    for number in range(FILES):
        file, end_ms, waveforms = Eaf(author="t"), 0, []
        file.remove_tier("default")
        # In one file the tier's name is in capitals.
        tier = "TX" if number == FILES - 1 else "tx"
        for name in (tier, "notes"):
            file.add_linguistic_type(f"{name}-type")
            file.add_tier(name, ling=f"{name}-type")
        for clip in range(CLIPS):
            text = next(texts)
            waveforms.append(say(text, clip))
            begin_ms, end_ms = end_ms, end_ms + len(waveforms[-1]) * 1000 // RATE_HZ
            file.add_annotation(tier, begin_ms, end_ms, spoil(number * CLIPS + clip, text))
        file.add_annotation("notes", 0, end_ms, "recorded outside")
        soundfile.write(root / f"{number}.wav", np.concatenate(waveforms), RATE_HZ)
        file.add_linked_file(f"file:///C:/Users/me/{number}.wav", mimetype="audio/x-wav")
        file.to_file(str(root / f"{number}.eaf"))
    (root / "6.wav").unlink()
    return root


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.output


def test_new_fix_and_run_need_no_editor_and_what_was_left_out_is_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_spoiled(tmp_path / "field")
    call("new", "art", "field", "--corpus.tiers", "tx", "--base", "none", "--out", "art.py")
    recipe = load(Path("art.py"))
    assert {"[]", "()", "{}"} <= {*recipe.text.drop} and "xxx" in recipe.text.unclear
    said = call("doctor", "art.py", "--fix", "fixed.jsonl", "--no-estimate")
    table = re.split(r"^left out *\n", said, flags=re.MULTILINE)[1].splitlines()
    assert table[0].split() == ["split", "why", "utterances", "first"]
    table = table[1 : next(number for number, line in enumerate(table) if "fixed.jsonl:" in line)]
    for why in ("empty_text", "unclear", "unreadable_audio", "tier notes", "missing tier tx"):
        assert any(f" {why} " in line for line in table), (why, said)
    small = ["--train.steps", "2", "--train.batch_s", "4", "--model.hidden_size", "64", "--model.layers", "1"]
    call("run", "art.py", *small, "--out", "run")
    assert load(Path("art.py")).corpus.root == Path("fixed.jsonl")
    summary = json.loads(Path("run/data/doctor.json").read_text(encoding="utf-8"))
    assert summary["excluded"] == []
    kept = [json.loads(line) for line in Path("fixed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(summary["utterances"].values()) == len(kept) > 60
    assert {*"".join(summary["alphabet"][2:])} <= {*"abcdeŋ"}, "no letter of the markup is learned"
    assert json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))["utterances"] > 0
