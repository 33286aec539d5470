"""The command line: verbs, options and help; a mistake is one line and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, muxed, say

from asr_adapt import __version__, audio, bundled
from asr_adapt.cli import main, run_recipe
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.recipe import Recipe

BASE = str(bundled.folder("base_small"))
HEAVY = ("torch", "transformers", "datasets", "librosa", "soundfile", "av", "numpy")

pytestmark = pytest.mark.usefixtures("tones_are_speech")


def asr_adapt(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command as a shell would, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["asr-adapt", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("code", ["import asr_adapt", "import asr_adapt.cli", "import asr_adapt.recipe"])
def test_importing_brings_nothing_heavy(code: str) -> None:
    check = f"{code}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"


def test_python_m_runs_the_command_line() -> None:
    said = subprocess.check_output([sys.executable, "-m", "asr_adapt", "--version"], text=True)
    assert said.strip() == __version__


def test_help_lists_the_verbs_that_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert asr_adapt(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert all(verb in said for verb in ("demo", "run", "new", "mms", "transfer", "transcribe", "evaluate", "serve"))
    assert "..." not in said.partition("Commands:")[2]  # no summary is cut short


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nowhere.py"), "nowhere.py: no such file."),
        (("transcribe", "nowhere.wav", "--model", "m"), "nowhere.wav: no such file or folder."),
        (
            ("transcribe", ".", "--model", "m", "--format", "doc"),
            "--format: no format 'doc'. Known: txt, json, srt",
        ),
        (
            ("transcribe", "x.wav", "--modle", "m"),
            "command line: No such option: --modle (Possible options: --model)",
        ),
        (("evaluate", "--model", "m"), "command line: Missing option '--corpus'"),
        (("draft", "."), "--model: no model was given."),
        (("draft", ".", "--model", "m", "--format", "doc"), "--format: no format 'doc'. Known: eaf, textgrid."),
        (("draft", "nowhere", "--model", BASE), "nowhere: no such file or folder."),
        (("draft", "--accept", __file__), f"{__file__}: has no draft in it."),
        (("few-shot", "mi", "--shots", "3"), "--shots: needs a corpus. Name the --corpus."),
        (
            ("few-shot", "mi", "--corpus", "c"),
            "--corpus: no clip of the corpus would be used. Say how many: --shots N.",
        ),
        (("few-shot", "mi"), "--words: no word, no text and no clip of the language."),
        (("serve", "--model", "nowhere"), "nowhere: not an asr-adapt model"),
        (("serve", "--model", f"a={BASE}", "--model", f"a={BASE}"), f"--model a={BASE}: two models are named 'a'."),
        (("serve", "--model", BASE, "--host", "192.0.2.1"), "192.0.2.1:8000: cannot bind to the address"),
        *(
            (("serve", "--model", BASE, "--api-key", key), f"--api-key: the key {problem}.")
            for key, problem in (("", "is blank"), (" \t", "is blank"), ("a b", "contains white space"))
        ),
        *(
            (("serve", "--model", BASE, option, value), f"command line: Invalid value for '{option}'")
            for option in ("--max-upload-mb", "--max-audio-s", "--request-s", "--batch-s", "--wait-ms")
            for value in ("1e400", "nan", "-1", "1e305")
        ),
        (("trancribe",), "command line: No such command 'trancribe'"),
        (
            ("evaluate", "--model", BASE, "--corpus", ".", "--corpus.format", "kaldi"),
            ".: the corpus has no utterances.",
        ),
        (
            ("evaluate", "--model", BASE, "--corpus", ".", "--corpus.tirs", "x"),
            "command line: unrecognized arguments: --corpus.tirs x. RECIPE.py --help lists the fields.",
        ),
        (("evaluate", "--model", "nowhere", "--corpus", "."), "nowhere: not an asr-adapt model"),
        *(
            (arguments, "memory://nowhere: no such file or folder. Look at the URL.")
            for arguments in (
                ("evaluate", "--model", BASE, "--corpus", "memory://nowhere"),
                ("doctor", "memory://nowhere"),
                ("new", "mi", "memory://nowhere", "--out", "nowhere.py"),
            )
        ),
        (("doctor", "nosuch://bucket"), "nosuch://bucket: no filesystem for nosuch://. Look at the URL."),
        (("draft", "s3://bucket", "--model", BASE), "s3:/bucket: is a URL, and must be a path on this machine."),
        (("next", "s3://bucket", "--model", BASE), "s3:/bucket: is a URL, and must be a path on this machine."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: tuple, said: str
) -> None:
    assert asr_adapt(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train.stepz", "5"], "--train.stepz 5"),
        (["--train.steps", "five"], "train.steps"),
        (["--train.steps", "0"], "train.steps"),
        (["--model.freeze", "everything"], "model.freeze"),
        (["--corpus.root", "/nowhere/at/all", "--model.base", "none"], "/nowhere/at/all: no such corpus"),
        (["--corpus.root", "memory://nowhere", "--model.base", "none"], "memory://nowhere: no such file or folder"),
        (["--model.base", "none"], "corpus.root: no corpus was named"),
    ],
)
def test_a_wrong_field_of_a_recipe_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["art.py", *arguments, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        run_recipe(Recipe(language="art"))
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_script_and_the_run_verb_are_the_same(
    monkeypatch: pytest.MonkeyPatch, tones: Path, tmp_path: Path
) -> None:
    script = tmp_path / "art.py"
    script.write_text(
        "from asr_adapt.cli import run_recipe\n"
        "from asr_adapt.recipe import Model, Recipe\n"
        'RECIPE = Recipe(language="art", model=Model(base="none", hidden_size=64, layers=1))\n'
        'if __name__ == "__main__":\n    run_recipe(RECIPE)\n'
    )
    fields = ["--corpus.root", str(tones), "--train.steps", "2", "--train.precision", "fp32"]
    subprocess.run([sys.executable, script, *fields, "--out", tmp_path / "a"], check=True, capture_output=True)
    monkeypatch.setattr(sys, "argv", ["asr-adapt", "run", str(script), *fields, "--out", str(tmp_path / "b")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    files = [tmp_path / name / "model" / "model.safetensors" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (tmp_path / "a/recipe.toml").read_text() == (tmp_path / "b/recipe.toml").read_text()


def test_a_wrong_field_inside_a_recipe_script_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    script = tmp_path / "x.py"
    script.write_text(
        "from asr_adapt.recipe import Recipe, Train\nRECIPE = Recipe(language='x', train=Train(stepz=1))"
    )
    assert asr_adapt(monkeypatch, "run", script) == 2
    error = capsys.readouterr().err
    assert "'stepz' is not a recipe field." in error and error.count("\n") == 1


def test_a_language_that_is_no_tag_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    script = tmp_path / "x.py"
    script.write_text("from asr_adapt.recipe import Recipe\nRECIPE = Recipe(language='zh')")
    assert asr_adapt(monkeypatch, "run", script, "--language", "zh_CN") == 2
    error = capsys.readouterr().err
    assert "language" in error and "'zh_CN'" in error and error.count("\n") == 1


def test_a_draft_of_which_a_file_fails_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", say("ab cde"), RATE_HZ)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    draft = ("draft", tmp_path, "--model", BASE, "--engine", "torch")
    assert asr_adapt(monkeypatch, *draft) == 3
    assert (tmp_path / "a.eaf").is_file() and "b.wav" in capsys.readouterr().err
    assert not asr_adapt(monkeypatch, "draft", "--accept", tmp_path / "a.eaf")
    (tmp_path / "a.eaf").unlink()
    (tmp_path / "a.wav").unlink()
    assert asr_adapt(monkeypatch, *draft) == 2


def test_an_aligned_eaf_names_its_recording(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, speech: Path, tmp_path: Path
) -> None:
    recording = next(iter(sorted(speech.glob("*.*"))))
    (tmp_path / "said.txt").write_text("a")
    align = ("align", recording, tmp_path / "said.txt", "--model", trained / "model", "--format", "eaf")
    assert not asr_adapt(monkeypatch, *align)
    assert recording.name in capsys.readouterr().out


def test_several_files_as_json_want_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, speech: Path
) -> None:
    assert asr_adapt(monkeypatch, "transcribe", speech, "--model", trained / "model", "--format", "json") == 2
    assert "Give --out DIR" in capsys.readouterr().err


def test_recipe_help_lists_every_section(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run_recipe(Recipe(language="art"), ["--help"], name="art")
    assert not ended.value.code
    said = capsys.readouterr().out
    assert all(field in said for field in ("--out", "--corpus.root", "--text.lower", "--model.base", "--train.steps"))
    assert "None" not in said and "tuple" not in said and "usage: art.py [--out <path>]" in said
    assert "librispeech, elan" in " ".join(said.split())


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    for name, text in (("one", "ab"), ("two words", "cde"), ("sub/ŋata", "bad"), ("sub/one", "dad")):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, say(text), RATE_HZ)
    return folder


def test_transcribe_writes_one_file_each_and_does_only_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, speech: Path, tmp_path: Path
) -> None:
    arguments = ("transcribe", speech, "--model", trained / "model", "--out", tmp_path / "out", "--format", "json")
    assert asr_adapt(monkeypatch, *arguments) == 0
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("[!.]*") if p.is_file()}
    assert written == {"one.json", "two words.json", "ŋata.json", "sub/one.json"}
    fields = json.loads((tmp_path / "out" / "two words.json").read_text())
    assert fields["text"] == "cde" and fields["words"][0]["word"] == "cde"
    (tmp_path / "out" / "one.json").unlink()
    before = (tmp_path / "out" / "two words.json").stat().st_mtime_ns
    assert asr_adapt(monkeypatch, *arguments) == 0
    assert "3 of 4 are there already" in capsys.readouterr().err
    assert (tmp_path / "out" / "one.json").is_file()
    assert (tmp_path / "out" / "two words.json").stat().st_mtime_ns == before


def test_transcribe_does_the_others_when_some_files_cannot_be_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, speech: Path
) -> None:
    (speech / "bad.mp3").write_bytes(b"\0" * 100)
    assert asr_adapt(monkeypatch, "transcribe", speech, "--model", trained / "model") == 3
    captured = capsys.readouterr()
    assert captured.err.count("error:") == 1 and "bad.mp3" in captured.err
    assert "bad" in captured.out and captured.out.count("\n") == 4


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate", "options"),
    [
        ("memo.m4a", "ipod", "aac", 48_000, {}),
        ("browser.webm", "webm", "libopus", 48_000, {"live": "1"}),  # MediaRecorder's: no length in its header
        ("browser.ogg", "ogg", "libopus", 48_000, {}),
        ("safari.mp4", "mp4", "aac", 48_000, {"movflags": "frag_keyframe+empty_moov"}),
        ("old phone.amr", "amr", "libopencore_amrnb", 8_000, {}),
        ("old phone.3gp", "3gp", "libopencore_amrnb", 8_000, {}),
    ],
)
def test_a_microphone_recording_of_a_browser_or_a_phone_is_read_as_it_sounds(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    trained: Path,
    tmp_path: Path,
    name: str,
    container: str,
    codec: str,
    rate: int,
    options: dict[str, str],
) -> None:
    data = muxed(say("bad cab", seed=1), container, codec, rate, **options)
    (tmp_path / name).write_bytes(data)
    assert asr_adapt(monkeypatch, "transcribe", tmp_path, "--model", trained / "model") == 0
    heard = Transcriber.from_folder(trained / "model").transcribe((audio.load(data), RATE_HZ)).text
    assert heard and capsys.readouterr().out == f"{heard}\n"


@pytest.mark.parametrize("format", ["txt", "json", "srt", "vtt", "tsv", "textgrid", "eaf"])
def test_every_format_is_written_of_speech_and_of_silence(
    monkeypatch: pytest.MonkeyPatch, trained: Path, speech: Path, tmp_path: Path, format: str
) -> None:
    soundfile.write(speech / "silence.wav", np.zeros(300), RATE_HZ)
    arguments = ("transcribe", speech, "--model", trained / "model", "--out", tmp_path / "out", "--format", format)
    assert asr_adapt(monkeypatch, *arguments) == 0
    assert "cde" in (tmp_path / "out" / f"two words.{format}").read_text(encoding="utf-8")
    assert (tmp_path / "out" / f"silence.{format}").is_file()


def test_standard_input_is_transcribed_as_stdin(clips: list[Path], tmp_path: Path) -> None:
    sound = muxed(audio.load(clips[0]), "webm", "libopus", 48_000)

    def transcribed(data: bytes, *arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", "from asr_adapt.cli import main; main()", "transcribe", "-", *arguments]
        return subprocess.run([*command, "--model", BASE], input=data, capture_output=True, check=False)

    assert transcribed(sound, "--out", tmp_path).returncode == 0
    assert len((tmp_path / "stdin.txt").read_text().split()) > 2
    nothing = transcribed(b"")
    assert nothing.returncode == 2
    # On a busy machine, progress goes before.
    said = [line for line in nothing.stderr.decode().splitlines() if not line.startswith("transcribe: ")]
    assert said[0].startswith("error: standard input: the file is empty (0 bytes).")


def test_bad_files_are_one_line_each_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, speech: Path, tmp_path: Path
) -> None:
    whole = muxed(say("ab" * 40), "ipod", "aac", 44_100)
    bad = {
        "nothing.wav": b"",
        "noise 1.mp3": bytes(range(256)) * 20,
        "页.m4a": whole[: len(whole) // 3],  # its index was to come last
        "قصة.webm": b"<html>",
    }
    for name, data in bad.items():
        (speech / name).write_bytes(data)
    (speech / "truncated.flac").write_bytes((speech / "one.wav").read_bytes()[:6_000])
    assert asr_adapt(monkeypatch, "transcribe", speech, "--model", trained / "model", "--out", tmp_path / "out") == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == len(bad)
    assert all(any(f"/{name}: " in line for line in errors) for name in bad)
    assert {p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")} == {
        "one.txt", "two words.txt", "ŋata.txt", "truncated.txt", "sub", "failed.jsonl",
    }  # fmt: skip


def test_transcribe_says_2_when_no_input_could_be_done(
    monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")
    assert asr_adapt(monkeypatch, "transcribe", tmp_path / "bad.wav", "--model", trained / "model") == 2


def test_ctrl_c_is_one_line_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, speech: Path, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asr_adapt.stages.transcribe.transcribe", interrupted)
    assert asr_adapt(monkeypatch, "transcribe", speech, "--model", BASE) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_silence_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(300), RATE_HZ)
    assert asr_adapt(monkeypatch, "transcribe", tmp_path / "silence.wav", "--model", trained / "model") == 0
    assert capsys.readouterr().out == "\n"


def test_two_files_that_would_become_one_are_refused_before_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, trained: Path, tmp_path: Path
) -> None:
    for suffix in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{suffix}", say("ab"), RATE_HZ)
    arguments = ("transcribe", tmp_path, "--model", trained / "model", "--out", tmp_path / "out")
    assert asr_adapt(monkeypatch, *arguments) == 2
    assert "would become" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
