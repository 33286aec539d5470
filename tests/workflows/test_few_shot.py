"""few-shot: models from word lists, tables of letters and few clips, on the embedded base and its Māori."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_adapt import audio, bundled, corpora
from asr_adapt.artifacts import ModelMetadata
from asr_adapt.cli import main
from asr_adapt.console import Console
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding import ctc
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import forward, head, ngram_file
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Corpus, Model, Recipe, Text
from asr_adapt.scoring import error_rates
from asr_adapt.stages import few_shot
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.workflows import few_shot as workflow
from asr_adapt.workflows.few_shot import LETTERS, Wanted, few_shot_model

DEMO = bundled.folder("demo")
EMBEDDED = Model(base="embedded-small")


@pytest.fixture(scope="module")
def spoken() -> dict[str, list[tuple[Path, str]]]:
    """Clips and transcripts of the demo, by split."""
    found: dict[str, list[tuple[Path, str]]] = {"train": [], "dev": [], "test": []}
    for utterance in corpora.read(DEMO, "mi"):
        found[str(utterance.split)].append((Path(utterance.audio), (utterance.text or "").lower()))
    return found


@pytest.fixture
def files(tmp_path: Path, spoken: dict) -> Path:
    """A folder with a word list."""
    words = sorted({word for _, text in spoken["train"] for word in text.split()})
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def corpus(tmp_path: Path, spoken: dict) -> Path:
    """Twelve clips in Common Voice's layout, the last with a text that is far too long for it."""
    root = tmp_path / "corpus"
    (root / "clips").mkdir(parents=True)
    for split, count in (("train", 12), ("dev", 1), ("test", 1)):
        lines = ["client_id\tpath\tsentence\tlocale"]
        for number, (path, text) in enumerate(spoken[split][:count]):
            name = f"{split}{number:02}{path.suffix}"
            shutil.copy(path, root / "clips" / name)
            lines.append(f"s\t{name}\t{text if number < 11 else text * 40}\tmi")
        (root / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def wanted(files: Path, letters: Path | None = None, shots: int = 0, corpus: Path | None = None) -> Wanted:
    recipe = Recipe(language="mi", model=EMBEDDED, corpus=Corpus(root=corpus))
    return Wanted(recipe, files / "words.txt", [], str(letters) if letters else None, shots)


def cer(model: CTCModel, clips: Sequence[tuple[Path, str]]) -> float:
    """Return the CER of clips that are decoded greedily."""
    pairs = []
    for path, text in clips:
        scores = forward.log_probs(model, [audio.load(path)])[0]
        written = model.alphabet.decode(run.label for run in ctc.greedy(scores))
        pairs.append((model.normaliser(text), written))
    return error_rates.rates(pairs)[1]


def test_the_embedded_base_writes_a_language_it_never_heard(
    files: Path, spoken: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for shots in (0, 5):
        out = files / f"{shots}"
        extra = ["--shots", f"{shots}", "--corpus", str(DEMO)] if shots else []
        arguments = ["few-shot", "mi", "--words", str(files / "words.txt"), *extra, "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["asr-adapt", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        found.append(cer(CTCModel.load(out), spoken["test"][:10]))
    assert found[0] < 0.6, "most of what it writes is right without one transcribed clip"
    assert found[1] < found[0]


def test_the_folder_has_its_table_and_decodes_with_the_word_list(files: Path, spoken: dict, console: Console) -> None:
    few_shot_model(wanted(files), files / "model", console)
    assert ModelMetadata.read(files / "model").language == "mi"
    assert "w\tw\tlooks alike" in (files / "model" / LETTERS).read_text(encoding="utf-8")
    assert ngram_file.read(files / "model") is not None
    known = set((files / "words.txt").read_text(encoding="utf-8").split())
    shares = []
    for use_ngram in (False, True):
        transcriber = Transcriber.from_folder(files / "model", use_ngram=use_ngram)
        words = [word for path, _ in spoken["test"][:6] for word in transcriber.transcribe(path).text.split()]
        shares.append(sum(word in known for word in words) / len(words))
    assert shares[1] > shares[0], "more of what is written are words of the list"


def test_clips_correct_a_table_that_is_wrong(files: Path, spoken: dict, console: Console) -> None:
    table = files / "exchanged.tsv"
    table.write_text("a\ti\ni\ta\nt\tm\nm\tt\n", encoding="utf-8")
    wrong = few_shot_model(wanted(files, table), files / "zero", console)
    better = few_shot_model(wanted(files, table, 10, DEMO), files / "few", console)
    assert cer(better, spoken["test"][:8]) < cer(wrong, spoken["test"][:8]) - 0.1


def test_a_clip_that_cannot_be_learned_from_is_named_and_replaced(
    files: Path, corpus: Path, capfd: pytest.CaptureFixture
) -> None:
    few_shot_model(wanted(files, None, 11, corpus), files / "all", Console())
    said = capfd.readouterr().err
    heard = TrainedOn.read(files / "all")
    assert heard is not None and len(heard.rows) == 11, "evaluate can tell what it learned from"
    assert "1 clips cannot be learned from" in said and "train11" in said and "cross-validation" in said
    with pytest.raises(InputError, match=r"12 clips are wanted, and 11 of 12"):
        few_shot_model(wanted(files, None, 12, corpus), files / "more", Console())
    assert not (files / "more").exists()


def test_text_is_an_n_gram_and_transcripts_do_not_judge_it(
    files: Path, spoken: dict, capfd: pytest.CaptureFixture
) -> None:
    text = files / "text.txt"
    text.write_text("\n".join(line for _, line in spoken["train"][:200]), encoding="utf-8")
    order = Wanted(wanted(files, corpus=DEMO).recipe, None, [text], None, 5)
    few_shot_model(order, files / "model", Console())
    found = ngram_file.read(files / "model")
    assert found is not None and "\\3-grams:" in found[0].read_text(encoding="utf-8")
    assert "3-gram of" in capfd.readouterr().err


def test_letters_without_a_phone_are_named(files: Path, capfd: pytest.CaptureFixture) -> None:
    with (files / "words.txt").open("a", encoding="utf-8") as words:
        words.write("ሀa\n")
    few_shot_model(wanted(files), files / "model", Console())
    assert "1 letters have no phone" in capfd.readouterr().err


def test_training_starts_from_the_head_that_few_shot_made(files: Path, console: Console) -> None:
    made = few_shot_model(wanted(files), files / "model", console)
    alphabet = Alphabet.from_texts(["kia ora"])
    start = head.create(Model(base=str(files / "model")), alphabet, "mi", Text(), seed=3)
    for letter in "kiaor":
        label, old = alphabet.encode(letter)[0], made.alphabet.encode(letter)[0]
        assert torch.equal(start.net.lm_head.weight[label], made.net.lm_head.weight[old])


def test_two_letters_of_one_phone_share_its_probability_as_often_as_they_are_written() -> None:
    alphabet = Alphabet(("<pad>", "|", "x", "y", "z"))
    phones = {"x": ("a",), "y": ("a",), "z": ("t", "ʃ")}
    made = head.from_phones(EMBEDDED, alphabet, phones, {"x": 29, "y": 9}, "mi", Text())
    old = CTCModel.load(bundled.folder("base_small"))
    a, t, esh = old.alphabet.encode("atʃ")
    weight, bias = old.net.lm_head.weight, old.net.lm_head.bias
    assert torch.equal(made.net.lm_head.weight[2], weight[a]) and torch.equal(made.net.lm_head.weight[3], weight[a])
    shares = torch.exp(made.net.lm_head.bias[2:4] - bias[a])
    np.testing.assert_allclose(shares.detach().numpy(), [29.5 / 39, 9.5 / 39], rtol=1e-5)
    torch.testing.assert_close(made.net.lm_head.weight[4], (weight[t] + weight[esh]) / 2)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("no words", "no word, no text and no clip"),
        ("no letters", "no letter in the words"),
        ("there", "already exists"),
        ("no table", r"missing\.tsv"),
    ],
)
def test_what_cannot_be_made_is_refused(change: str, problem: str, files: Path, console: Console) -> None:
    order, out = wanted(files), files / "model"
    if change == "no words":
        order = Wanted(order.recipe, None, [], None, 0)
    elif change == "no letters":
        (files / "words.txt").write_text("…\n\n", encoding="utf-8")
    elif change == "there":
        out.mkdir()
    else:
        order = wanted(files, files / "missing.tsv")
    with pytest.raises(InputError, match=problem):
        few_shot_model(order, out, console)
    assert [path for path in files.glob("*model*") if path != out or change != "there"] == []


def test_a_base_that_was_pre_trained_only_writes_no_phones(base: Path, files: Path, console: Console) -> None:
    order = Wanted(Recipe(language="mi", model=Model(base=str(base))), files / "words.txt", [], None, 0)
    with pytest.raises(InputError, match="writes no letters or phones"):
        few_shot_model(order, files / "model", console)


def test_clips_that_the_base_was_trained_on_are_not_in_cross_validation(
    spoken: dict, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console()
    utterances = [u for u in corpora.read(DEMO, "mi") if u.split == "train"][:4]
    speech = SpeechSplit("train", utterances, [u.text or "" for u in utterances], None)
    clips = TrainedOn.of([speech], console, {})
    before = TrainedOn(clips.rows[:2], "facebook/unknown")
    assert workflow._new_to(before, clips, "models/mi", console) == [2, 3]
    said = " ".join("".join(capsys.readouterr()).split())
    assert "models/mi was trained on 2 of the 4 clips: not in cross-validation" in said
    assert "what models/mi was trained on is not known in full" in said

    scored: list[str] = []

    def rates(model: object, outputs: list[str], texts: list[str]) -> tuple[float, float]:
        scored.extend(texts)
        assert outputs == texts
        return 0.5, 0.25

    monkeypatch.setattr(few_shot, "held_out", lambda model, features, texts, console: list(texts))
    monkeypatch.setattr(few_shot, "rates", rates)
    found = workflow._cross_validated(None, [], ["a " * 60, "b", "c " * 60], [0, 2], console)  # type: ignore[arg-type]
    assert scored == ["a " * 60, "c " * 60] and found is not None and found.references == scored


def test_without_two_different_transcripts_there_is_no_cross_validation(capsys: pytest.CaptureFixture) -> None:
    assert workflow._cross_validated(None, [], ["ka"] * 5, range(5), Console()) is None  # type: ignore[arg-type]
    assert workflow._cross_validated(None, [], ["ka", "a"], [], Console()) is None  # type: ignore[arg-type]
    said = " ".join("".join(capsys.readouterr()).split())
    assert "no cross-validation: all the clips have the same transcript" in said
    assert "no cross-validation: the base model was trained on all the clips" in said
