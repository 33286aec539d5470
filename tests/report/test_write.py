"""report.html and the model card of a finished run."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import tone_recipe
from huggingface_hub import ModelCard

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Report, Source, read_recipe, write_recipe
from asr_adapt.records import Utterance, read_jsonl, write_jsonl
from asr_adapt.report.write import write_model_card, write_page
from asr_adapt.scoring import error_analysis
from asr_adapt.scoring.error_analysis import ScoredUtterance
from asr_adapt.workflows.model_folder import evaluate_folder
from asr_adapt.workflows.run import run


@pytest.fixture(scope="module")
def alignments() -> Iterator[list[str]]:
    """The ids of the utterances that were aligned, once for each alignment."""
    ids: list[str] = []
    align = ScoredUtterance.of

    def counted(utterance: Utterance, *texts: str) -> ScoredUtterance:
        ids.append(utterance.id)
        return align(utterance, *texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScoredUtterance, "of", counted)
        yield ids


@pytest.fixture(scope="module")
def finished(tones: Path, tmp_path_factory: pytest.TempPathFactory, alignments: list[str]) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    recipe = tone_recipe(tones, steps=3)
    licence = recipe.corpus.model_copy(update={"licence": "CC0-1.0\n| made here |"})
    run(recipe.model_copy(update={"corpus": licence}), out, Console(quiet=True))
    assert len(alignments) == len(set(alignments)) == 6, "evaluate, page and model card share one alignment"
    return out


def test_the_hub_reads_the_model_card_and_finds_the_values_of_metrics_json(finished: Path) -> None:
    card = ModelCard.load(finished / "model" / "README.md")
    metrics = json.loads((finished / "metrics.json").read_text())
    assert card.data.language == "art" and card.data.library_name == "transformers" and card.data.license == "other"
    assert card.data.pipeline_tag == "automatic-speech-recognition" and card.data.base_model is None
    results = {result.metric_type: result for result in card.data.eval_results}
    assert set(results) == {"wer", "cer"}
    for name, result in results.items():
        assert result.metric_value == metrics[name]
        assert result.metric_args == {
            "interval_95": metrics[f"{name}_ci95"],
            "normaliser": metrics["normaliser"],
            "decoding": "greedy",
        }
        assert result.dataset_split == "test" and result.dataset_config == "art" and result.dataset_name == "corpus"
        utterances = [utterance for _, utterance in read_jsonl(finished / "hypotheses.jsonl")]
        assert result.dataset_args == {
            "utterances": 6,
            "words": metrics["words"],
            "hours": round(metrics["audio_s"] / 3600, 4),
            "sha256": error_analysis.split_hash(utterances),
        }
    assert f"| WER | {metrics['wer']:.3f} | too little to measure: 6 utterances, " in card.text
    doctor = json.loads((finished / "data" / "doctor.json").read_text())
    assert card.data.to_dict()["train_hours"] == doctor["hours"]["train"]


def test_the_model_card_states_limits_and_licence(finished: Path) -> None:
    text = ModelCard.load(finished / "model" / "README.md").text
    assert "It writes 6 letters and no others: a b c d e ŋ." in text
    assert "Every speaker of test also occurs in train" in text
    assert "Corpus licence, as stated by its publisher: CC0-1.0 | made here |." in text
    assert "The base model" not in text, "it was trained from nothing"


def test_neither_page_nor_model_card_contains_a_path_of_this_machine(finished: Path, tones: Path) -> None:
    for path in (finished / "report.html", finished / "model" / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert str(tones.parent) not in text and str(finished) not in text and "test0.wav" not in text


def test_a_base_model_from_the_hub_is_in_the_model_cards_metadata(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    recipe = (out / "recipe.toml").read_text().replace('base = "none"', 'base = "facebook/mms-300m"')
    (out / "recipe.toml").write_text(recipe.replace('freeze = "nothing"', 'freeze = "below:4"'))
    write_model_card(out)
    card = ModelCard.load(out / "model" / "README.md")
    assert card.data.base_model == "facebook/mms-300m" and "facebook/mms-300m, has a licence of its own" in card.text
    assert "the head, and the transformer layers above layer 4" in card.text
    (out / "recipe.toml").write_text(recipe.replace("facebook/mms-300m", "/home/somebody/secret/base"))
    write_model_card(out)
    text = (out / "model" / "README.md").read_text()
    assert ModelCard(text).data.base_model is None and "somebody" not in text and "- Base model: base" in text


def test_a_missing_or_outdated_report_is_written_again_and_no_other_stage_repeated(
    finished: Path, tones: Path
) -> None:
    recipe = tone_recipe(tones, steps=3)
    page, weights = finished / "report.html", finished / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns, (finished / "metrics.json").stat().st_mtime_ns
    assert "<audio" in page.read_text()
    run(recipe.model_copy(update={"report": Report(audio=False)}), finished, Console(quiet=True))
    assert "<audio" not in page.read_text()
    run(recipe.model_copy(update={"report": Report(names=True)}), finished, Console(quiet=True))
    assert "<audio" in page.read_text() and "speaker0" in page.read_text()
    page.unlink()
    (finished / "model" / "README.md").unlink()
    run(recipe, finished, Console(quiet=True))
    assert "speaker0" not in page.read_text() and (finished / "model" / "README.md").is_file()
    assert (weights.stat().st_mtime_ns, (finished / "metrics.json").stat().st_mtime_ns) == before


def test_excluded_utterances_of_a_run_are_on_its_page(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    path = out / "data" / "doctor.json"
    doctor = json.loads(path.read_text())
    for name, split, reason, detail in (
        ("a.wav", "train", "too_long", "31.0 s"),
        ("b.wav", "train", "too_long", "40.0 s"),
        ("c.wav", "test", "unreadable_audio", "the file is empty"),
    ):
        doctor["excluded"].append({"id": name, "audio": name, "split": split, "reason": reason, "detail": detail})
    path.write_text(json.dumps(doctor))
    metrics = json.loads((out / "metrics.json").read_text())
    (out / "metrics.json").write_text(json.dumps(metrics | {"excluded": {"unreadable_audio": 1}}))
    text = write_page(out).read_text()
    rows = [row.split("</tr>")[0] for row in text.split("excluded-title")[2].split("<tr><td>")[1:]]
    assert rows == [
        'test</td><td>unreadable audio</td><td class="n">1</td><td>the file is empty</td>',
        'train</td><td>too long</td><td class="n">2</td><td>31.0 s</td>',
    ]
    write_model_card(out)
    assert "Excluded: 1 utterance (unreadable audio)." in (out / "model" / "README.md").read_text()


def test_leaks_into_train_are_counted_in_utterances_of_the_scored_split(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    lines = [u for _, u in read_jsonl(out / "hypotheses.jsonl")]
    lines = [u.model_copy(update={"text": lines[0].text} if i < 3 else {}) for i, u in enumerate(lines)]
    lines[0] = lines[0].model_copy(update={"audio": "once.wav"})
    normalise = CTCModel.load(out / "model").normaliser
    scored = error_analysis.score(lines, normalise)
    counts = {kind: sum(getattr(one.word_errors, name) for one in scored) for kind, name in (
        ("substitutions", "substitutions"), ("deletions", "deletions"), ("insertions", "insertions"),
        ("words", "reference_length"))}  # fmt: skip
    write_jsonl(out / "hypotheses.jsonl", lines)
    metrics = json.loads((out / "metrics.json").read_text())
    (out / "metrics.json").write_text(json.dumps(metrics | counts))
    doctor = json.loads((out / "data" / "doctor.json").read_text())
    doctor["leaks"] = [
        {"kind": "sentence", "value": scored[0].reference, "splits": ["train", "test"], "utterances": 9},
        {"kind": "sentence", "value": scored[5].reference, "splits": ["dev", "test"], "utterances": 2},
        {"kind": "recording", "value": "once.wav", "splits": ["train", "dev", "test"], "utterances": 3},
    ]
    (out / "data" / "doctor.json").write_text(json.dumps(doctor))
    text = write_page(out).read_text()
    assert (
        "The sentence of 3 of the 6 utterances of test also occurs in train, so these error rates are optimistic."
        in text
    )
    assert (
        "The recording of 1 of the 6 utterances of test also occurs in train, so these error rates are optimistic."
        in text
    )


@pytest.mark.parametrize(
    ("known", "warning"),
    [(1, "1 of the 3 speakers of test also occurs"), (2, "2 of the 3 speakers of test also occur ")],
)
def test_speakers_that_occur_in_train_are_counted(finished: Path, tmp_path: Path, known: int, warning: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    lines = [u for _, u in read_jsonl(out / "hypotheses.jsonl")]
    strange = {f"speaker{i}": f"stranger{i}" for i in range(known, 3)}
    lines = [u.model_copy(update={"speaker": strange.get(str(u.speaker), u.speaker)}) for u in lines]
    write_jsonl(out / "hypotheses.jsonl", lines)
    assert warning in write_page(out).read_text()


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ({"gpus": ["H100"], "versions": {"torch": "2.9"}}, "<dd>H100; torch 2.9</dd>"),
        ({"cores": 2, "machine": "x86_64", "versions": {}}, "<dd>2 cores (x86_64)</dd>"),
        ({"gpus": [], "versions": {"asr-adapt": "0.1"}}, "<dd>asr-adapt 0.1</dd>"),
        ({}, None),
    ],
)
def test_a_machine_is_named_as_far_as_it_is_known(
    finished: Path, tmp_path: Path, kept: dict, shown: str | None
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "environment.json").write_text(json.dumps(kept))
    text = write_page(out).read_text()
    assert shown in text if shown else "<dt>Machine</dt>" not in text
    (out / "environment.json").write_text("{")
    with pytest.raises(InputError, match=r"environment\.json: damaged"):
        write_page(out)


def test_every_evaluation_has_its_report(finished: Path, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    evaluate_folder(finished / "model", Source(root=tones), "test", out, Console(quiet=True), sound=False)
    text = (out / "report.html").read_text()
    assert "<audio" not in text and "Training loss" not in text and "this page was made without them" in text
    evaluate_folder(finished / "model", Source(root=tones), "dev", out, Console(quiet=True))
    assert "<audio" in (out / "report.html").read_text()


def test_a_licence_that_is_stated_later_reaches_model_card_and_page(finished: Path, tones: Path) -> None:
    recipe = tone_recipe(tones, steps=3)
    for licence in ("unknown", "CC-BY-4.0"):
        corpus = recipe.corpus.model_copy(update={"licence": licence})
        run(recipe.model_copy(update={"corpus": corpus}), finished, Console(quiet=True))
        assert f"as stated by its publisher: {licence}." in (finished / "model" / "README.md").read_text()
        assert f"<dd>{licence}</dd>" in (finished / "report.html").read_text()


def test_each_of_several_corpora_is_named_with_its_licence(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    kept = read_recipe(out / "recipe.toml")
    corpus = kept.corpus.model_copy(update={"root": Path("/far/ours"), "licence": "CC0"})
    more = (Source(root=Path("/far/theirs"), licence="for research alone"),)
    write_recipe(kept.model_copy(update={"corpus": corpus, "corpora": more}), out / "recipe.toml")
    write_model_card(out)
    text = (out / "model" / "README.md").read_text()
    assert "ours: CC0; theirs: for research alone" in text and "trained on ours and theirs" in text
