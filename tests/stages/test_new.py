"""A recipe that is written for a corpus says what the corpus shows, and runs."""

import re
import runpy
import sys
import unicodedata
from pathlib import Path

import pytest
from conftest import write_corpus

from asr_adapt.cli import main, run_recipe
from asr_adapt.recipe import Recipe, Text
from asr_adapt.records import Utterance, write_jsonl
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.text.orthography import described


def asr_adapt(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["asr-adapt", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def manifest(path: Path, hours: float, texts: tuple[str, ...] = ("kia ora",), recordings: int = 10) -> Path:
    """Write a manifest whose clips have lengths, and are nowhere: nothing of them is decoded."""
    splits = ("train",) * 8 + ("dev", "test")
    write_jsonl(
        path,
        [
            Utterance(id=f"{i}", audio=f"{i}.wav", duration_s=3600 * hours / 8, text=texts[i % len(texts)],
                      split=splits[i] if recordings == 10 else None)
            for i in range(recordings)
        ],
    )  # fmt: skip
    return path


def written(out: Path) -> tuple[Recipe, str]:
    module = runpy.run_path(str(out))
    return module["RECIPE"], module["__doc__"]


def test_a_recipe_is_written_for_a_corpus_and_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "tones", train=8, dev=3, test=3)
    monkeypatch.chdir(tmp_path)
    assert asr_adapt(monkeypatch, "new", "art", "tones", "--base", "none") == 0
    recipe, said = written(tmp_path / "recipes" / "art.py")
    assert (recipe.language, recipe.corpus.root, recipe.model.base) == ("art", Path("tones"), "none")
    assert said.startswith("Artificial languages (art): say here whose language it is")
    assert "common_voice, 14 utterances: train 8, dev 3, test 3" in said
    assert re.search(r"train [\d.]+ s, 3 speakers", said)
    assert "Latin script, left to right, cased. 6 letters: a b c d e ŋ." in said
    assert "Normalisation drops U+002E FULL STOP × 14" in said
    assert all(f"\n{part}: " in said for part in ("Corpus", "Orthography", "Base", "To beat")), "the house's form"
    small = ["--train.steps", "2", "--train.batch_s", "4", "--model.hidden_size", "64", "--model.layers", "1"]
    run_recipe(recipe, [*small, "--out", "run"], name="art")
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("hours", "base", "reason"),
    [
        (0.5, "facebook/mms-300m", "# 30 min of labels: MMS is ahead of XLS-R under an hour"),
        (1.5, "facebook/wav2vec2-xls-r-300m", "# 1.50 h of labels: XLS-R is level with MMS from an hour on"),
    ],
)
def test_the_base_model_is_chosen_by_the_hours_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: float, base: str, reason: str
) -> None:
    corpus, out = manifest(tmp_path / "m.jsonl", hours), tmp_path / "r.py"
    assert asr_adapt(monkeypatch, "new", "mi", corpus, "--out", out) == 0
    assert written(out)[0].model.base == base
    assert reason in out.read_text(encoding="utf-8") and "arXiv:2506.17459" in out.read_text(encoding="utf-8")


def test_a_recipe_that_is_there_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "r.py"
    out.write_text("mine")
    assert asr_adapt(monkeypatch, "new", "mi", manifest(tmp_path / "m.jsonl", 1), "--out", out) == 2
    assert "r.py: already exists, and is not written over. Give another --out." in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_what_was_said_on_the_command_line_stands_in_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from pympi import Eaf

    (tmp_path / "field").mkdir()
    for number in range(4):
        made = Eaf(author="t")
        for kind in ("utterance", "note"):
            made.add_linguistic_type(kind)
            made.add_tier(kind[:2], ling=kind)
            made.add_annotation(kind[:2], 0, 1500, f"kia ora {kind}")
        made.to_file(str(tmp_path / "field" / f"{number}.eaf"))
    out = tmp_path / "r.py"
    command = ("new", "mi", tmp_path / "field", "--out", out)
    assert asr_adapt(monkeypatch, *command) == 2
    assert "corpus.tiers: several tiers may hold the transcript." in capsys.readouterr().err
    named = ("--corpus.tiers", "ut", "--corpus.licence", 'all "rights" \\ x', "--text.replace", '{"ora": "oʻa"}')
    assert asr_adapt(monkeypatch, *command, *named) == 0
    recipe, said = written(out)
    assert recipe.corpus.tiers == ("ut",) and recipe.corpus.licence == 'all "rights" \\ x'
    assert recipe.text.replace == {"ora": "oʻa"}
    assert "elan, 4 utterances, split by recording: train 2, dev 1, test 1" in said


def test_a_corpus_without_splits_gets_a_recipe_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    corpus, out = manifest(tmp_path / "m.jsonl", 1, recordings=2), tmp_path / "r.py"
    assert asr_adapt(monkeypatch, "new", "mi", corpus, "--out", out) == 0
    assert "No splits can be made (2 utterances are too few" in written(out)[1].replace("\n", " ")
    assert "no splits can be made" in capsys.readouterr().err


@pytest.mark.parametrize("texts", [("",), ("!?",), ("123",)])
def test_a_corpus_without_a_letter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, texts: tuple[str, ...]
) -> None:
    out = tmp_path / "r.py"
    assert asr_adapt(monkeypatch, "new", "mi", manifest(tmp_path / "m.jsonl", 1, texts), "--out", out) == 2
    assert re.search("no utterance has a transcript|hold no letter", capsys.readouterr().err)
    assert not out.exists()


def seen(*texts: str, language: str = "und") -> str:
    return ". ".join(described(texts, Normaliser(Text(), language)).sentences())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wa ékiá", "Latin script, left to right, in lower case"),
        ("WA EKIA", "in capitals"),
        ("ދިވެހި ބަސް", "Thaana script, right to left, without case"),
        ("ᱥᱟᱱᱛᱟᱲᱤ ᱯᱟᱹᱨᱥᱤ", "Ol Chiki script, left to right, without case"),
        ("ሰላም ዓለም", "Ethiopic script, left to right, without case"),
        ("Чӑваш", "Cyrillic script, left to right, cased"),
        (unicodedata.normalize("NFC", "bàsàa"), "Marks, .*: U+0300 COMBINING GRAVE ACCENT × 2"),
        ("nzembi εa", "Of another script, so perhaps look-alikes: U+03B5 GREEK SMALL LETTER EPSILON × 1"),
        ("ភាសាខ្មែរភាសាខ្មែរភាសាខ្មែរ", "Words are not separated by spaces"),
        ("he 2 kuri", "1 transcripts hold digits"),
        ("ta' Ġorġ", "1 apostrophes begin or end a word"),
        ("‘Ōlelo", "1 apostrophes begin or end a word"),
        ("il-kelb", "Inside words there are U+002D HYPHEN-MINUS × 1: .* text.keep"),
        ("Kia ora!", "Normalisation drops U+0021 EXCLAMATION MARK × 1"),
    ],
)
def test_a_writing_is_described_as_its_readers_would(text: str, said: str) -> None:
    assert re.search(said.replace("+", r"\+"), seen(text))


def test_a_plain_writing_is_told_nothing_that_it_has_not() -> None:
    assert seen("kia ora koutou") == "Latin script, left to right, in lower case. 7 letters: a i k o r t u"


def test_letters_that_carry_their_vowels_are_learned_by_code_points() -> None:
    letters = [chr(code) for code in range(0x0995, 0x09A9)]
    signs = [chr(code) for code in range(0x09BE, 0x09C4)]
    clusters = [letter + sign for letter in letters for sign in signs]
    many = described([" ".join(clusters)], Normaliser(Text(), "as"))
    few = described([" ".join(clusters[:30])], Normaliser(Text(), "as"))
    assert many.wants_code_points and not few.wants_code_points


@pytest.mark.parametrize(("text", "script"), [("สวัสดีครับ", "Thai"), ("ייִדיש װאָס", "Hebrew"), ("kia ora", "Latin")])
def test_the_letters_of_one_script_are_no_strays(text: str, script: str) -> None:
    shown = described([text], Normaliser(Text(), "und"))
    assert [name for name, _ in shown.scripts] == [script] and not shown.strays


def test_what_the_report_is_to_leave_out_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, out = manifest(tmp_path / "m.jsonl", hours=2), tmp_path / "art.py"
    assert asr_adapt(monkeypatch, "new", "art", corpus, "--out", out, "--report.audio", "false") == 0
    assert not written(out)[0].report.audio


def test_the_recipe_has_the_settings_that_the_markup_needs_and_says_what_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    texts = ("[noise] kia ora", "kia ora xxx", "A: kia ora", r"ba\ngo", "kia ora") * 2
    corpus, out = manifest(tmp_path / "m.jsonl", 1, texts), tmp_path / "r.py"
    assert asr_adapt(monkeypatch, "new", "mi", corpus, "--out", out, "--text.keep", "-") == 0
    recipe, said = written(out)
    assert (recipe.text.drop[0], recipe.text.unclear) == ("[]", ("xxx",))
    assert recipe.text.replace == {r"\ng": "ŋ"} and recipe.text.keep == "-"
    normalise = Normaliser(recipe.text, "mi")
    assert [normalise(text) for text in texts[:5]] == ["kia ora", "kia ora xxx", "kia ora", "baŋo", "kia ora"]
    assert "letters: a b g i k o r ŋ." not in said and "letters: a b i k o r ŋ." in said
    assert "2 utterances are marked as unclear" in said.replace("\n", " ")
    source = out.read_text(encoding="utf-8")
    assert "# Markup in the transcripts: 'xxx' × 2; '[noise]' × 2;" in source
    assert source.index("# Markup") < source.index("text=Text(")
    assert "Markup, annotations: '[noise]' × 2" in capsys.readouterr().err


def test_a_plain_corpus_gets_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, out = manifest(tmp_path / "m.jsonl", 1), tmp_path / "r.py"
    assert asr_adapt(monkeypatch, "new", "mi", corpus, "--out", out) == 0
    assert written(out)[0].text == Text() and "Markup" not in out.read_text(encoding="utf-8")
