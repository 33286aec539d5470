"""A corpus spoiled in known ways: the doctor finds each, and nothing in the clean one."""

import json
import re
import subprocess
import sys
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from typer.testing import CliRunner

from asr_adapt import corpora
from asr_adapt.audio import resample
from asr_adapt.cli import app
from asr_adapt.console import Console
from asr_adapt.corpora import checks
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.recipe import Corpus, Recipe
from asr_adapt.recipe_script import load
from asr_adapt.records import SPLITS
from asr_adapt.stages import doctor
from asr_adapt.stages.doctor.markup_findings import MARKUP
from asr_adapt.stages.doctor.sound import measure
from asr_adapt.stages.prepare import prepare
from asr_adapt.text import markup

RATE_HZ = 16_000
Clip = dict  # split, speaker, text, waveform


def speech(seed: int, seconds: float = 3.0) -> np.ndarray:
    """Noise that swells like syllables, with pauses: float32, 16 kHz, up to 8 kHz, some 40 dB above its floor."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    swell = np.clip(np.sin(2 * np.pi * 2 * t), 0, 1) ** 2
    return (0.08 * swell * rng.standard_normal(len(t)) + 0.0005 * rng.standard_normal(len(t))).astype(np.float32)


def clean() -> list[Clip]:
    """Return the clips of a corpus in which nothing is wrong; speakers and sentences stay in their split."""
    words = ["kóa", "mbila", "soso", "teki", "áhoro", "nga", "pulu", "wena", "sikóa", "bola"]
    splits = ["train"] * 12 + ["dev"] * 3 + ["test"] * 3
    return [
        {
            "split": split,
            "speaker": f"{split}{number % 2}",
            "text": f"{words[number % 10].capitalize()} {' '.join(words)} {words[number // 10]} {words[number % 7]}",
            "waveform": speech(number, 5.0),
        }
        for number, split in enumerate(splits)
    ]


def write(root: Path, clips: list[Clip]) -> Path:
    """Write the clips as WAV files with a manifest beside them."""
    lines = []
    for number, clip in enumerate(clips):
        soundfile.write(root / f"{number}.wav", clip["waveform"], RATE_HZ, subtype="FLOAT")
        line = {key: clip[key] for key in ("split", "speaker", "text", "duration_s") if key in clip}
        lines.append(json.dumps({"id": f"u{number}", "audio": f"{number}.wav"} | line, ensure_ascii=False))
    (root / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "corpus.jsonl"


def names(manifest: Path) -> list[str]:
    """Return what the doctor finds."""
    return [f.name for f in examined(manifest).findings]


def examined(manifest: Path) -> doctor.Examined:
    return doctor.examine(Recipe(language="art", corpus=Corpus(root=manifest)), Console(quiet=True), grid=FrameGrid())


def fixed(found: doctor.Examined, manifest: Path) -> str:
    """Apply --fix, and return what it says."""
    console = Recorder()
    doctor.apply_fix(found, manifest, None, console)
    return "\n".join(console.lines)


class Recorder(Console):
    """Keeps results instead of printing them; tables are printed."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def result(self, text: str = "") -> None:
        self.lines.append(text)


def waveform(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[Clip]], None]:
    def spoil(clips: list[Clip]) -> None:
        clips[2]["waveform"] = change(clips[2]["waveform"]).astype(np.float32)

    return spoil


def text(change: Callable[[str], str]) -> Callable[[list[Clip]], None]:
    def spoil(clips: list[Clip]) -> None:
        clips[2]["text"] = change(clips[2]["text"])

    return spoil


def field(**values: object) -> Callable[[list[Clip]], None]:
    return lambda clips: clips[2].update(values)


def copied(key: str, source: int, to: int) -> Callable[[list[Clip]], None]:
    return lambda clips: clips[to].update({key: clips[source][key]})


def telephone(samples: np.ndarray) -> np.ndarray:
    import soxr

    return resample(soxr.resample(samples, RATE_HZ, 8_000), 8_000)


def noise(samples: np.ndarray) -> np.ndarray:
    return samples + 0.1 * np.random.default_rng(9).standard_normal(len(samples))


SPOILED: dict[str, tuple[str, Callable[[list[Clip]], None]]] = {
    "a Greek omicron": ("look_alikes", text(lambda t: t.replace("soso", "sοso"))),
    "a Cyrillic o": ("look_alikes", text(lambda t: t.replace("soso", "sоso"))),
    "a Greek letter throughout": ("borrowed_letters", text(lambda t: t.replace("soso", "sωso"))),
    "a foreign word": ("other_script", text(lambda t: t + " спутник")),
    "a digit": ("digits", text(lambda t: t + " 7")),
    "capitals": ("capitals", text(str.upper)),
    "NFD": ("composition", text(lambda t: unicodedata.normalize("NFD", t))),
    "unclear speech": ("unclear_marks", text(lambda t: t + " xxx")),
    "an annotation": ("annotations", text(lambda t: "[noise] " + t)),
    "a laugh in brackets": ("annotations", text(lambda t: "(laughs) " + t)),
    "a CHAT code": ("chat_codes", text(lambda t: t + " &=laughs")),
    "a Praat code": ("praat_codes", text(lambda t: t.replace("nga", r"na\'^"))),
    "a speaker's prefix": ("speaker_prefixes", text(lambda t: "A: " + t)),
    "a time": ("timestamps", text(lambda t: "00:01:23 " + t)),
    "a footnote": ("footnotes", text(lambda t: t + "¹")),
    "an entity": ("entities", text(lambda t: t.replace("kóa", "k&oacute;a"))),
    "words in brackets": ("bracketed_speech", text(lambda t: t.replace("soso", "(soso)"))),
    "a bracket that is not closed": ("unclosed_brackets", text(lambda t: t.replace("soso", "[soso"))),
    "a soft hyphen": ("invisible_characters", text(lambda t: t.replace("soso", "so\u00adso"))),
    "no text": ("empty_text", text(lambda t: "")),
    "too short": ("too_short", waveform(lambda w: w[:800])),
    "too long": ("too_long", waveform(lambda w: np.tile(w, 7))),
    "clipped": ("clipped", waveform(lambda w: np.clip(w * 8, -0.6, 0.6))),
    "silent": ("silent", waveform(lambda w: w * 1e-4)),
    "noisy": ("noisy", waveform(noise)),
    "a telephone's band": ("narrow_band", waveform(telephone)),
    "DC offset": ("dc_offset", waveform(lambda w: w + 0.05)),
    "a false length": ("length_claimed", field(duration_s=9.0)),
    "too many letters": ("too_fast", waveform(lambda w: w[: int(1.6 * RATE_HZ)])),
    "too few letters": ("too_slow", text(lambda t: "kóa")),
    "CTC-infeasible": ("text_too_long", waveform(lambda w: w[: RATE_HZ // 2])),
    "the same recording twice": ("duplicate_audio", copied("waveform", 4, 2)),
    "the same sentence again": ("duplicate_text", copied("text", 4, 2)),
    "a recording in two splits": ("audio_leak", copied("waveform", 13, 2)),
    "a sentence in two splits": ("text_leak", copied("text", 13, 2)),
    "a speaker in two splits": ("speaker_leak", field(speaker="test0")),
    "a letter outside of train": ("unknown_letters", lambda clips: clips[13].update(text=clips[13]["text"] + " ŋa")),
}


def test_nothing_is_found_in_the_clean_corpus(tmp_path: Path) -> None:
    assert names(write(tmp_path, clean())) == []


@pytest.mark.parametrize(("name", "spoil"), SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_corpus_has_that_finding_alone(
    name: str, spoil: Callable[[list[Clip]], None], tmp_path: Path
) -> None:
    clips = clean()
    spoil(clips)
    assert names(write(tmp_path, clips)) == [name]


def test_a_header_that_claims_more_than_there_is_is_found(tmp_path: Path) -> None:
    manifest = write(tmp_path, clean())
    soundfile.write(tmp_path / "2.wav", clean()[2]["waveform"], RATE_HZ, subtype="PCM_16")
    whole = (tmp_path / "2.wav").read_bytes()
    (tmp_path / "2.wav").write_bytes(whole[: len(whole) * 3 // 4])
    assert names(manifest) == ["length_claimed"]


def test_a_file_that_is_no_sound_is_found(tmp_path: Path) -> None:
    manifest = write(tmp_path, clean())
    (tmp_path / "2.wav").write_bytes(b"no sound at all" * 9)
    assert names(manifest) == ["unreadable_audio"]


def test_a_corpus_without_train_cannot_be_trained_on(tmp_path: Path) -> None:
    found = examined(write(tmp_path, [c for c in clean() if c["split"] != "train"]))
    assert found.fatal
    assert [f.name for f in found.findings] == ["no_train"]


def test_the_mended_manifest_has_nothing_left_to_find_and_the_original_is_as_it_was(tmp_path: Path) -> None:
    clips = clean()
    for name in ("a Greek omicron", "NFD"):
        SPOILED[name][1](clips)
    clips[4]["waveform"] = clips[4]["waveform"][:800]
    manifest = write(tmp_path, clips)
    before = manifest.read_bytes()
    found = examined(manifest)
    assert {f.name for f in found.findings} == {"look_alikes", "composition", "too_short"}
    done = fixed(found, tmp_path / "mended.jsonl")
    assert done.endswith("mended.jsonl: 17 of 18 utterances; left out: too_short 1; 1 transcript repaired")
    assert manifest.read_bytes() == before
    assert names(tmp_path / "mended.jsonl") == []
    assert corpora.read(tmp_path / "mended.jsonl", "art")[2].text == clean()[2]["text"]


def in_an_archive(root: Path, clips: list[Clip]) -> Path:
    write(root, clips)
    with tarfile.open(root / "cv.tar.gz", "w:gz") as tar:
        for number in range(len(clips)):
            tar.add(root / f"{number}.wav", f"cv-corpus/art/clips/{number}.wav")
        for split in SPLITS:
            rows = [f"{c['speaker']}\t{n}.wav\t{c['text']}" for n, c in enumerate(clips) if c["split"] == split]
            (root / "table.tsv").write_text("\n".join(["client_id\tpath\tsentence", *rows]), encoding="utf-8")
            tar.add(root / "table.tsv", f"cv-corpus/art/{split}.tsv")
    return root / "cv.tar.gz"


def in_a_data_set(root: Path, clips: list[Clip]) -> Path:
    from datasets import Audio, Dataset

    write(root, clips)
    for split in SPLITS:
        rows = [
            {"audio": {"bytes": (root / f"{n}.wav").read_bytes(), "path": f"{n}.wav"}, "text": c["text"],
             "speaker": c["speaker"]} for n, c in enumerate(clips) if c["split"] == split]  # fmt: skip
        (root / "set").mkdir(exist_ok=True)
        Dataset.from_list(rows).cast_column("audio", Audio()).to_parquet(str(root / "set" / f"{split}.parquet"))
    return root / "set"


def in_long_recordings(root: Path, clips: list[Clip]) -> Path:
    from pympi import Eaf

    (root / "media").mkdir()
    (root / "field").mkdir()
    for first in range(0, len(clips), 3):
        made, end_ms, said = Eaf(author="t"), 0, clips[first : first + 3]
        for clip in said:
            begin_ms, end_ms = end_ms, end_ms + len(clip["waveform"]) // 16
            made.add_annotation("default", begin_ms, end_ms, clip["text"])
        long = np.concatenate([clip["waveform"] for clip in said])
        soundfile.write(root / "media" / f"{first}.wav", long, RATE_HZ, subtype="FLOAT")
        made.add_linked_file(f"file:///gone/{first}.wav", relpath=f"../media/{first}.wav", mimetype="audio/x-wav")
        made.to_file(str(root / "field" / f"{first}.eaf"))
    return root / "field"


@pytest.mark.parametrize("packed", [in_an_archive, in_a_data_set, in_long_recordings])
def test_a_mended_manifest_is_trained_on_from_anywhere_whatever_the_corpus_was_packed_in(
    packed: Callable[[Path, list[Clip]], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "corpus").mkdir()
    monkeypatch.setenv("ASR_ADAPT_CACHE", "kept")  # relative, as the corpus itself is below
    clips = clean()
    clips[4]["waveform"] = clips[4]["waveform"][:800]
    text(lambda t: unicodedata.normalize("NFD", t))(clips)
    root = packed(tmp_path / "corpus", clips)
    monkeypatch.chdir(tmp_path)
    found = examined(root.relative_to(tmp_path))
    manifest = tmp_path / "elsewhere" / "mended.jsonl"
    said = fixed(found, manifest)
    assert ("mended.jsonl: 17 of 18 utterances; left out: too_short 1; 1 transcript repaired") in said
    kept_in_cache = packed is not in_long_recordings
    assert (f"{tmp_path / 'kept'}: keep that folder" in said) == kept_in_cache

    monkeypatch.chdir(tmp_path / "elsewhere")
    again = examined(manifest)
    assert {f.name for f in again.findings} == {f.name for f in found.findings} - {"too_short", "composition"}
    assert sorted(again.durations_s) == [5.0] * 17
    recipe = Recipe(language="art", corpus=Corpus(root=manifest))
    summary = prepare(recipe, list(again.utterances), FrameGrid(), tmp_path / "data", Console(quiet=True))
    assert sum(summary.utterances.values()) == 17 and not summary.excluded


@pytest.mark.parametrize("leak", ["waveform", "text"])
def test_what_dev_and_test_share_is_found_and_left_to_people(leak: str, tmp_path: Path) -> None:
    clips = clean()
    copied(leak, 16, 13)(clips)
    found = examined(write(tmp_path, clips))
    assert [(f.name, f.ids, f.left_out) for f in found.findings] == [
        ("audio_leak" if leak == "waveform" else "text_leak", ("u16",), ())
    ]


def test_what_train_shares_with_test_is_left_out_of_train_alone(tmp_path: Path) -> None:
    clips = clean()
    copied("text", 16, 2)(clips)
    found = examined(write(tmp_path, clips))
    assert [(f.name, f.left_out) for f in found.findings] == [("text_leak", ("u2",))]
    assert fixed(found, tmp_path / "mended.jsonl").endswith(
        "mended.jsonl: 17 of 18 utterances; left out: text_leak 1"
    )
    assert {u.id for u in corpora.read(tmp_path / "mended.jsonl", "art")} == {f"u{n}" for n in range(18)} - {"u2"}


def test_pieces_of_one_recording_in_two_splits_are_found(tmp_path: Path) -> None:
    manifest = write(tmp_path, clean())
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    lines[2] |= {"start_s": 0.0, "end_s": 2.5, "text": lines[2]["text"][:40]}
    lines[13] |= {"audio": "2.wav", "start_s": 2.5, "end_s": 5.0, "text": lines[13]["text"][:40]}
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    found = examined(manifest)
    assert [(f.name, f.ids, f.left_out) for f in found.findings] == [("recording_leak", ("u2",), ())]


def test_a_corpus_that_cannot_be_split_is_said_to_be_so(tmp_path: Path) -> None:
    clips = [{key: clip[key] for key in ("text", "waveform")} for clip in clean()[:2]]
    found = examined(write(tmp_path, clips))
    assert found.fatal
    assert [f.name for f in found.findings] == ["no_splits"]


def test_every_kind_of_markup_has_words() -> None:
    assert tuple(MARKUP) == markup.KINDS


def test_markup_is_mended_and_what_is_left_is_judged_without_it(tmp_path: Path) -> None:
    clips = clean()
    clips[2]["text"] = "A: [noise] " + clips[2]["text"]
    clips[3]["text"] = "(laughs)"
    clips[4]["text"] = "<unk> " + clips[4]["text"]
    found = examined(write(tmp_path, clips))
    assert [(f.name, f.ids) for f in found.findings] == [
        ("annotations", ("u2", "u3")),
        ("empty_text", ("u3",)),
        ("speaker_prefixes", ("u2",)),
        ("unclear_marks", ("u4",)),
    ]
    assert found.as_json()["text"]["drop"][:2] == ("[]", "()")
    done = fixed(found, tmp_path / "mended.jsonl")
    assert done.endswith("16 of 18 utterances; left out: empty_text 1, unclear_marks 1; 1 transcript repaired")
    assert names(tmp_path / "mended.jsonl") == []
    assert corpora.read(tmp_path / "mended.jsonl", "art")[2].text == clean()[2]["text"]


def test_every_reason_for_leaving_out_has_words() -> None:
    assert {*get_args(checks.Reason), "unreadable_audio"} - {"unknown_letter"} == doctor.UNTRAINABLE.keys()


def test_every_finding_and_every_key_is_in_the_documentation(tmp_path: Path) -> None:
    said = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)`", said, re.MULTILINE))
    code = "".join(path.read_text(encoding="utf-8") for path in Path(doctor.__file__).parent.glob("*.py"))
    named = set(re.findall(r'(?:found|Finding)\(\s*"(\w+)"', code)) | doctor.UNTRAINABLE.keys() | {"no_train"}
    named |= {name for name, *_ in MARKUP.values()}
    assert documented == named | {f"no_{split}" for split in ("dev", "test")}
    keys = examined(write(tmp_path, clean())).as_json().keys()
    assert set(re.findall(r"^- `(\w+)`", said, re.MULTILINE)) == keys


def test_the_command_writes_json_and_a_page_and_ends_with_2_where_nothing_can_be_trained(tmp_path: Path) -> None:
    clips = [c | {"text": c["text"] + "<script>"} for c in clean() if c["split"] != "train"]
    manifest, page, data = write(tmp_path, clips), tmp_path / "page.html", tmp_path / "found.json"
    done = CliRunner().invoke(app, ["doctor", str(manifest), "--json", str(data), "--html", str(page)])
    assert done.exit_code == 2, done.output
    found = json.loads(data.read_text(encoding="utf-8"))
    assert not found["trainable"]
    assert found["findings"][0]["name"] == "no_train"
    html = page.read_text(encoding="utf-8")
    assert "This corpus is not usable for training" in html
    assert "http://" not in html and "https://" not in html


def test_the_page_says_what_was_read_and_that_speakers_are_not_known(tmp_path: Path) -> None:
    clips = [{key: clip[key] for key in ("split", "text", "waveform")} for clip in clean()]
    found = examined(write(tmp_path, clips))
    doctor.write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "corpus.jsonl: manifest, 18 utterances: train 12, dev 3, test 3" in page
    assert page.count("Speakers are unknown.") == 3 and "0 speakers" not in page
    assert page.count("<li>") == len(found.letters)
    assert page.count("<span>5.0</span>") == 1, "all clips have one length: its scale has one end"


@pytest.mark.parametrize(
    ("option", "place", "said"),
    [
        ("--json", "nowhere/found.json", "cannot be written. Name a file in a folder that is yours"),
        ("--html", ".", "cannot be written. Name a file in a folder that is yours"),
        ("--fix", "corpus.jsonl", "already exists, and is not written over"),
        ("--fix", "mended.csv", "must end with .jsonl"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_heard(
    option: str, place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path, clean()[:1])
    monkeypatch.setattr(doctor, "examine", lambda *_: pytest.fail("it listens"))
    done = CliRunner().invoke(app, ["doctor", str(manifest), option, str(tmp_path / place)])
    assert isinstance(done.exception, InputError) and said in str(done.exception)


def test_the_estimate_says_how_it_was_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", str(write(tmp_path, clean())), "--json", str(tmp_path / "found.json")])
    assert done.exit_code == 0, done.output
    estimate = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["estimate"]
    assert estimate["hours"] > 0 and estimate["memory_gb"] > 0
    assert "steps of embedded" in estimate["how"]


def test_what_is_heard_is_what_was_put_there() -> None:
    heard = measure(speech(1) + np.float32(0.1))
    assert heard.mean == pytest.approx(0.1, abs=1e-3)
    assert heard.duration_s == 3.0


def test_findings_go_to_standard_output_and_progress_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor.show(examined(write(tmp_path, clean())), Console())
    out, err = capsys.readouterr()
    assert "train 12, dev 3, test 3" in out and "no problems found" in out
    assert err == ""


def test_a_mistyped_path_is_refused_before_a_model_is_imported(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from asr_adapt.cli import main
        try:
            main()
        finally:
            print({"torch", "transformers", "jinja2", "pydantic_settings"} & {*sys.modules})
    """
    command = [sys.executable, "-c", code, "doctor", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "set()\n")
    assert done.stderr.startswith(f"error: {tmp_path / 'nothing'}: no such corpus.") and done.stderr.count("\n") == 1


def test_digits_are_a_closed_vocabulary_and_no_leak(tmp_path: Path) -> None:
    digits = ["tahi", "rua", "toru", "wha"]
    clips = [clip | {"text": f"{digits[number % 4]}", "waveform": clip["waveform"][: int(2.9 * RATE_HZ)]}
             for number, clip in enumerate(clean())]  # fmt: skip
    found = examined(write(tmp_path, clips))
    assert {f.name: (f.severity, f.left_out) for f in found.findings} == {
        "closed_vocabulary": ("note", ()),
        "duplicate_text": ("note", ()),
    }
    assert not found.fix.changes_anything


def test_a_train_split_whose_sentences_are_those_of_test_is_not_emptied(tmp_path: Path) -> None:
    clips = clean()
    for number, clip in enumerate(clips):
        clip["text"] = clips[12 + number % 6]["text"]
    found = examined(write(tmp_path, clips))
    leak = next(f for f in found.findings if f.name == "text_leak")
    assert (leak.severity, leak.left_out) == ("warning", ()) and "most of train" in leak.remedy
    assert len(found.fix.utterances) == 18


def test_a_split_that_fix_would_empty_stays_and_that_is_said(tmp_path: Path) -> None:
    clips = clean()
    for number in range(12):
        clips[number]["waveform"] = clips[12 + number % 6]["waveform"]
    clips[0]["text"] = ""
    found = examined(write(tmp_path, clips))
    assert "audio_leak" in [f.name for f in found.findings]
    counts = {s: sum(u.split == s for u in found.fix.utterances) for s in SPLITS}
    assert counts == {"train": 11, "dev": 3, "test": 3}
    assert "audio_leak: kept in train, which would be empty otherwise" in found.fix.summary()


def recipe_script(root: Path, corpus: Path, **sections: str) -> Path:
    """Write a recipe script as `asr-adapt new` does."""
    body = "".join(f"    {name}={code},\n" for name, code in sections.items())
    script = root / "art.py"
    script.write_text(
        '"""Art."""\n\nfrom asr_adapt import Corpus, Recipe, run_recipe\n\nRECIPE = Recipe(\n    language="art",\n'
        f'    # The corpus.\n    corpus=Corpus(root={str(corpus)!r}, licence="CC0"),\n{body})\n',
        encoding="utf-8",
    )
    return script


def test_fix_makes_the_recipe_read_the_manifest_with_the_settings_and_says_so_first(tmp_path: Path) -> None:
    clips = clean()
    clips[2]["text"] = "[noise] " + clips[2]["text"]
    clips[3]["text"] = clips[3]["text"] + " xxx"
    script = recipe_script(tmp_path, write(tmp_path, clips))
    manifest = tmp_path / "fixed.jsonl"
    command = ["doctor", str(script), "--fix", str(manifest), "--no-estimate", "--model.base", "embedded"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "train  unclear_marks  1           u3" in done.output
    assert f'{script}: text=Text(drop=("[]",), unclear=("xxx",))' in done.output
    recipe = load(script)
    assert (recipe.corpus.root, recipe.corpus.licence) == (manifest, "CC0")
    assert (recipe.text.drop, recipe.text.unclear) == (("[]",), ("xxx",))
    assert recipe.model == Recipe(language="art").model, "what was said on the command line is for the doctor alone"
    source = script.read_text(encoding="utf-8")
    assert "# replaced by asr-adapt doctor: corpus=Corpus(root=" in source and "    # The corpus.\n" in source
    assert names(manifest) == []
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, InputError) and "fixed.jsonl: already exists" in str(again.exception)


def test_a_recipe_that_cannot_be_edited_is_left_alone_with_its_manifest_unwritten(tmp_path: Path) -> None:
    clips = clean()
    clips[2]["text"] = "[noise] " + clips[2]["text"]
    script = tmp_path / "r.py"
    script.write_text(
        "from asr_adapt import Recipe\nRECIPES = {'a': Recipe(language='art', corpus={'root': "
        f"{str(write(tmp_path, clips))!r}}})}}\nRECIPE = RECIPES['a']\n"
    )
    before = script.read_bytes()
    command = ["doctor", str(script), "--fix", str(tmp_path / "fixed.jsonl"), "--no-estimate",
               "--model.base", "embedded"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InputError)
    assert 'Edit it by hand: corpus=Corpus(root="' in str(done.exception) and "text=Text(drop=" in str(done.exception)
    assert script.read_bytes() == before and not (tmp_path / "fixed.jsonl").exists()


def test_a_sample_is_said_to_be_one_and_is_always_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = clean()
    clips[17]["text"] = "[noise] " + clips[17]["text"]
    recipe = Recipe(language="art", corpus=Corpus(root=write(tmp_path, clips)))
    decoded: list[list[str]] = []
    decode = checks.decode_and_check

    def watched(utterances: list, *rest: object) -> object:
        decoded.append([u.id for u in utterances])
        return decode(utterances, *rest)

    monkeypatch.setattr(checks, "decode_and_check", watched)
    for _ in range(2):
        found = doctor.examine(recipe, Console(quiet=True), grid=FrameGrid(), sample=4)
    assert decoded[0] == decoded[1] and len(decoded[0]) == 4
    assert [f.name for f in found.findings] == ["annotations"], "all transcripts are examined"
    assert found.hours == pytest.approx({"train": 60 / 3600, "dev": 15 / 3600, "test": 15 / 3600})
    doctor.show(found, Console())
    assert "sample: 4 clips were decoded" in capsys.readouterr().out
    done = CliRunner().invoke(app, ["doctor", str(recipe.corpus.root), "--sample", "4", "--fix", str(tmp_path / "f")])
    assert "a sample cannot be fixed" in str(done.exception)


def test_ten_seconds_are_not_enough_to_train_on(tmp_path: Path) -> None:
    clips = clean()[:2] + clean()[12:]
    found = examined(write(tmp_path, clips))
    assert found.fatal and [f.name for f in found.findings] == ["too_little"]
    assert found.findings[0].detail == "10 s of speech in train"
    assert found.outlook == ""


def test_parts_of_the_corpus_that_are_not_read_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = in_long_recordings(tmp_path, clean())
    from pympi import Eaf

    file = Eaf(str(root / "0.eaf"))
    file.add_tier("notes")
    file.add_annotation("notes", 0, 9000, "a note")
    file.to_file(str(root / "0.eaf"))
    recipe = Recipe(language="art", corpus=Corpus(root=root, tiers=("default",)))
    found = doctor.examine(recipe, Console(quiet=True), grid=FrameGrid())
    doctor.show(found, Console())
    out = capsys.readouterr().out
    assert "not read: tier 'notes' is not used: 1 utterances, 9 s in 1 file" in out
    assert re.search(r"^train: \S+ (s|min), \d+ utterances", out, re.MULTILINE)


def test_a_manifest_without_a_split_is_not_written(tmp_path: Path) -> None:
    clips = clean()
    script = recipe_script(tmp_path, write(tmp_path, clips))
    before = script.read_bytes()
    for number in range(15, 18):
        (tmp_path / f"{number}.wav").unlink()
    command = ["doctor", str(script), "--fix", str(tmp_path / "fixed.jsonl"), "--no-estimate",
               "--model.base", "embedded"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InputError)
    assert "nothing of test can be used, so nothing is written" in str(done.exception)
    assert "test   unreadable_audio  3" in done.output
    assert script.read_bytes() == before and not (tmp_path / "fixed.jsonl").exists()


def in_stereo(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Return what rewrites clip 2 as the two channels that `change` makes of it: (num_samples, 2)."""

    def spoil(root: Path) -> None:
        samples, rate_hz = soundfile.read(root / "2.wav", dtype="float32")
        soundfile.write(root / "2.wav", change(samples), rate_hz, subtype="FLOAT")

    return spoil


def in_turns(samples: np.ndarray) -> np.ndarray:
    """Return a conversation: the left channel speaks in even seconds, the right one in odd seconds."""
    left = np.arange(len(samples)) // RATE_HZ % 2 == 0
    return np.stack([np.where(left, samples, samples / 30), np.where(left, samples / 30, samples)], axis=1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: np.stack([s, -s], axis=1), ["channels_cancel"]),
        (in_turns, ["speaker_per_channel"]),
        (lambda s: np.stack([s, s], axis=1), []),
        (lambda s: np.stack([s, 0 * s], axis=1), []),
    ],
    ids=["opposite signs", "a speaker in each", "the same in both", "one silent"],
)
def test_channels_that_cancel_or_hold_a_speaker_each_are_found(
    change: Callable[[np.ndarray], np.ndarray], expected: list[str], tmp_path: Path
) -> None:
    manifest = write(tmp_path, clean())
    in_stereo(change)(tmp_path)
    assert names(manifest) == expected
