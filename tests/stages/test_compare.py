"""compare: paired differences of systems on one test set, and refusal of different test sets."""

import json
import random
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import RATE_HZ, say

from asr_adapt.cli import main
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.records import Utterance, write_jsonl
from asr_adapt.stages.compare import Comparisons, System, compare, page

WORDS = ["ka", "te", "rā", "ngā", "whare", "moana", "tere", "iti", "nui", "pai"]


def write(path: Path, error_rate: float, seed: int, count: int = 120, **changes: str) -> Path:
    """Write hypotheses in which a share of the words is wrong."""
    sentences, noise = random.Random(1), random.Random(seed)
    utterances = []
    for number in range(count):
        words = [sentences.choice(WORDS) for _ in range(sentences.randint(2, 7))]
        hypothesis = " ".join("x" if noise.random() < error_rate else word for word in words)
        text = changes.get(f"u{number}", " ".join(words))
        utterances.append(
            Utterance(id=f"u{number}", audio=f"{number}.wav", speaker=f"s{number % 3}", duration_s=1 + number % 7,
                      language="mi", text=text, hypothesis=hypothesis)
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, utterances)
    return path


def of(*paths: Path) -> Comparisons:
    return compare([System.read(path) for path in paths], Console(quiet=True))


def test_a_clearly_better_system_is_called_better_and_the_difference_is_that_of_the_rates(tmp_path: Path) -> None:
    found = of(write(tmp_path / "a.jsonl", 0.4, 2), write(tmp_path / "b.jsonl", 0.1, 3))
    (system,) = found.systems
    assert system.wer_difference.value == pytest.approx(system.wer.value - found.baseline_wer.value)
    assert system.wer_difference.high < 0 and system.wer_difference.probability_of_improvement == 1
    assert system.mapsswe_p < 0.001 and system.verdict == "b is better than the baseline (WER and CER)."
    assert {group.name for group in system.by_speaker} == {"speaker 1", "speaker 2", "speaker 3"}
    assert sum(group.words for group in system.by_speaker) == found.words == sum(g.words for g in system.by_length)
    assert system.letters[0].errors < system.letters[0].baseline_errors
    assert found.drawn == "utterances" and found.blocks == 120


def test_equal_systems_show_no_difference(tmp_path: Path) -> None:
    found = of(write(tmp_path / "a.jsonl", 0.3, 2), write(tmp_path / "b.jsonl", 0.3, 2))
    (system,) = found.systems
    assert (system.wer_difference.low, system.wer_difference.high) == (0, 0)
    assert system.verdict.startswith("No difference") and not system.utterances


def test_a_tiny_test_set_gets_no_verdict(tmp_path: Path) -> None:
    (system,) = of(write(tmp_path / "a.jsonl", 0.9, 2, 8), write(tmp_path / "b.jsonl", 0.0, 3, 8)).systems
    assert system.verdict.endswith("cannot be told apart: too little to measure: 8 utterances, 29 s.")


def test_another_test_set_is_refused_with_what_differs(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", 0.3, 2)
    with pytest.raises(InputError, match=r"10 utterances are only in a, such as 'u110'"):
        of(one, write(tmp_path / "b.jsonl", 0.3, 2, 110))
    with pytest.raises(InputError, match=r"1 references differ, such as 'u5'"):
        of(one, write(tmp_path / "c.jsonl", 0.3, 2, u5="something else"))


def test_groups_have_paired_intervals_where_they_are_large_enough_and_lengths_are_in_order(tmp_path: Path) -> None:
    (system,) = of(write(tmp_path / "a.jsonl", 0.4, 2), write(tmp_path / "b.jsonl", 0.1, 3)).systems
    assert [group.name for group in system.by_length] == ["under 2 s", "2 to 5 s", "5 to 10 s"]
    for group in (*system.by_length, *system.by_speaker):
        assert (group.difference is None) == (group.utterances < 20)
        if group.difference:
            assert group.difference.value == pytest.approx(group.wer - group.baseline_wer)
            assert group.difference.low <= group.difference.value <= group.difference.high


def test_errors_in_marks_are_those_on_right_letters(tmp_path: Path) -> None:
    def with_marks(path: Path, hypothesis: str) -> Path:
        write_jsonl(path, [Utterance(id=str(n), audio="a", duration_s=9, text="rā té ka", hypothesis=hypothesis)
                           for n in range(20)])  # fmt: skip
        return path

    (system,) = of(with_marks(tmp_path / "a.jsonl", "ra té ka"), with_marks(tmp_path / "b.jsonl", "rā xe kà")).systems
    marks = {c.letter: (c.occurrences, c.baseline_errors, c.errors) for c in system.marks}
    assert marks == {"no mark": (80, 0, 20), "macron": (20, 20, 0), "acute accent": (20, 0, 20)}


def test_the_model_of_a_run_stands_for_what_it_wrote_there(tmp_path: Path) -> None:
    write(tmp_path / "run" / "hypotheses.jsonl", 0.1, 3)
    (tmp_path / "run" / "model").mkdir()
    metadata = {"language": "mi", "alphabet": ["<pad>", "|", "a"], "normaliser": {}}
    (tmp_path / "run" / "model" / "asr_adapt.json").write_text(json.dumps({"format_version": 1} | metadata))
    system = System.read(tmp_path / "run" / "model")
    assert system.name == "run" and len(system.utterances) == 120 and system.normaliser is not None


@pytest.mark.parametrize(
    ("name", "line"), [("b.trn", "{text} ({id})"), ("b.txt", "{id} {text}"), ("text", "{id} {text}")]
)
def test_hypotheses_of_other_toolkits_take_the_references_of_the_baseline(
    tmp_path: Path, name: str, line: str
) -> None:
    baseline = System.read(write(tmp_path / "a.jsonl", 0.4, 2))
    better = System.read(write(tmp_path / "b.jsonl", 0.1, 3))
    file = tmp_path / name
    texts = {u.id: u.hypothesis for u in better.utterances.values()}
    file.write_text("\n".join(line.format(id=id, text=text) for id, text in reversed(texts.items())) + "\n")
    found = compare([baseline, System.read(file, baseline)], Console(quiet=True)).systems[0]
    expected = compare([baseline, better], Console(quiet=True)).systems[0]
    assert (found.wer, found.mapsswe_p) == (expected.wer, expected.mapsswe_p)
    with pytest.raises(InputError, match="without references"):
        System.read(file)
    file.write_text(line.format(id="u0", text="ka") + "\n" + line.format(id="other", text=""))
    with pytest.raises(InputError, match=r"119 utterances are only in a.*1 utterances are only in"):
        compare([baseline, System.read(file, baseline)], Console(quiet=True))
    file.write_text(line.format(id="u0", text="ka") + "\n" + line.format(id="u0", text="ka"))
    with pytest.raises(InputError, match=r":2: id 'u0' occurs twice"):
        System.read(file, baseline)


def test_the_utterances_that_differ_most_can_be_heard(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_jsonl(tmp_path / f"{name}.jsonl", [
            Utterance(id=str(n), audio=str(tmp_path / f"{n}.wav"), duration_s=7, text="ab cd",
                      hypothesis="ab cd" if name == "b" or n > 2 else "x x")
            for n in range(20)
        ])  # fmt: skip
    for number in (0, 2):
        soundfile.write(tmp_path / f"{number}.wav", say("abc", number), RATE_HZ)
    read = [System.read(tmp_path / f"{name}.jsonl") for name in ("a", "b")]
    found = compare(read, Console(quiet=True))
    assert [one.line for one in found.systems[0].utterances] == [1, 2, 3]
    text = page(found, read[0])
    assert text.count("<audio") == 2 and "recordings of people's voices, of 2 utterances" in text
    silent = page(found, read[0], sound=False)
    assert "<audio" not in silent and "made without recordings" in silent


def test_what_is_no_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no hypotheses here"):
        System.read(tmp_path)
    write_jsonl(tmp_path / "x.jsonl", [Utterance(id="a", audio="a.wav", text="a")])
    with pytest.raises(InputError, match="'hypothesis' is missing"):
        System.read(tmp_path / "x.jsonl")


def test_the_verb_prints_the_table_and_writes_json_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    paths = [write(tmp_path / "a" / "hypotheses.jsonl", 0.4, 2).parent, write(tmp_path / "b.jsonl", 0.1, 3)]
    written = [tmp_path / "c.json", tmp_path / "c.html"]
    monkeypatch.setattr(
        sys, "argv", ["asr-adapt", "compare", *map(str, paths), "--json", str(written[0]), "--html", str(written[1])]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr()
    assert "b is better than the baseline (WER and CER)." in said.out + said.err
    fields = json.loads(written[0].read_text())
    assert fields["baseline"] == "a" and fields["systems"][0]["name"] == "b"
    text = written[1].read_text()
    assert "b is better than the baseline" in text and text.count("<li>") == len(fields["systems"][0]["utterances"])
