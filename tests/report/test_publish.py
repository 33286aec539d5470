"""What a run leaves beside its figures: the page and the model's card."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import tone_recipe
from huggingface_hub import ModelCard

from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Report, Source, read_recipe, write_recipe
from asr_adapt.records import read_jsonl, write_jsonl
from asr_adapt.report import publish
from asr_adapt.scoring import error_analysis
from asr_adapt.workflows.model_folder import evaluate_folder
from asr_adapt.workflows.run import run


@pytest.fixture(scope="module")
def finished(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "run"
    recipe = tone_recipe(tones, steps=3)
    licence = recipe.corpus.model_copy(update={"licence": "CC0-1.0\n| made here |"})
    run(recipe.model_copy(update={"corpus": licence}), out, Console(quiet=True))
    return out


def test_the_hub_reads_the_models_card_and_finds_the_figures_of_metrics_json(finished: Path) -> None:
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
    assert (
        f"| WER | {metrics['wer']:.3f} | {metrics['wer_ci95'][0]:.3f} to {metrics['wer_ci95'][1]:.3f} |" in card.text
    )
    doctor = json.loads((finished / "data" / "doctor.json").read_text())
    assert card.data.to_dict()["train_hours"] == doctor["hours"]["train"]


def test_the_card_says_what_limits_the_model_and_its_licence(finished: Path) -> None:
    text = ModelCard.load(finished / "model" / "README.md").text
    assert "It writes 6 letters and no others: a b c d e ŋ." in text
    assert "every speaker of test stands in train too" in text
    assert "The corpus, as its makers state it: CC0-1.0 | made here |." in text
    assert "The base model" not in text, "it was trained from nothing"


def test_neither_page_nor_card_names_a_folder_of_this_machine(finished: Path, tones: Path) -> None:
    for path in (finished / "report.html", finished / "model" / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert str(tones.parent) not in text and str(finished) not in text and "test0.wav" not in text


def test_a_base_on_the_hub_is_named_where_the_hub_looks_for_it(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    recipe = (out / "recipe.toml").read_text().replace('base = "none"', 'base = "facebook/mms-300m"')
    (out / "recipe.toml").write_text(recipe)
    publish.model_card(out)
    card = ModelCard.load(out / "model" / "README.md")
    assert card.data.base_model == "facebook/mms-300m" and "facebook/mms-300m, has a licence of its own" in card.text
    (out / "recipe.toml").write_text(recipe.replace("facebook/mms-300m", "/home/somebody/secret/base"))
    publish.model_card(out)
    text = (out / "model" / "README.md").read_text()
    assert ModelCard(text).data.base_model is None and "somebody" not in text and "- Base model: base" in text


def test_a_report_that_was_lost_or_is_to_show_something_else_is_made_again_and_nothing_more(
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


def test_what_a_run_left_out_stands_on_its_page(finished: Path, tmp_path: Path) -> None:
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
    text = publish.page(out).read_text()
    rows = [row.split("</tr>")[0] for row in text.split("left-out-title")[2].split("<tr><td>")[1:]]
    assert rows == [
        'test</td><td>unreadable audio</td><td class="n">1</td><td>the file is empty</td>',
        'train</td><td>too long</td><td class="n">2</td><td>31.0 s</td>',
    ]
    publish.model_card(out)
    assert "Not in these figures: 1 utterance (unreadable audio)." in (out / "model" / "README.md").read_text()


def test_what_was_in_training_too_is_counted_in_utterances_of_the_split_scored(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    lines = [u for _, u in read_jsonl(out / "hypotheses.jsonl")]
    lines = [u.model_copy(update={"text": lines[0].text} if i < 3 else {}) for i, u in enumerate(lines)]
    lines[0] = lines[0].model_copy(update={"audio": "once.wav"})
    normalise = CTCModel.load(out / "model").normaliser
    judged = error_analysis.judge(lines, normalise)
    counts = {kind: sum(getattr(one.word_errors, name) for one in judged) for kind, name in (
        ("substitutions", "substitutions"), ("deletions", "deletions"), ("insertions", "insertions"),
        ("words", "reference_length"))}  # fmt: skip
    write_jsonl(out / "hypotheses.jsonl", lines)
    metrics = json.loads((out / "metrics.json").read_text())
    (out / "metrics.json").write_text(json.dumps(metrics | counts))
    doctor = json.loads((out / "data" / "doctor.json").read_text())
    doctor["leaks"] = [
        {"kind": "sentence", "value": judged[0].said, "splits": ["train", "test"], "utterances": 9},
        {"kind": "sentence", "value": judged[5].said, "splits": ["dev", "test"], "utterances": 2},
        {"kind": "recording", "value": "once.wav", "splits": ["train", "dev", "test"], "utterances": 3},
    ]
    (out / "data" / "doctor.json").write_text(json.dumps(doctor))
    text = publish.page(out).read_text()
    assert "For 3 of the 6 utterances of test, the sentence stands in train too, so the figures flatter." in text
    assert "For 1 of the 6 utterances of test, the recording stands in train too, so the figures flatter." in text


@pytest.mark.parametrize(
    ("known", "said"), [(1, "1 of the 3 speakers of test stands"), (2, "2 of the 3 speakers of test stand ")]
)
def test_some_speakers_stand_and_one_stands_in_train_too(
    finished: Path, tmp_path: Path, known: int, said: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    lines = [u for _, u in read_jsonl(out / "hypotheses.jsonl")]
    strange = {f"speaker{i}": f"stranger{i}" for i in range(known, 3)}
    lines = [u.model_copy(update={"speaker": strange.get(str(u.speaker), u.speaker)}) for u in lines]
    write_jsonl(out / "hypotheses.jsonl", lines)
    assert said in publish.page(out).read_text()


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
    text = publish.page(out).read_text()
    assert shown in text if shown else "<dt>Machine</dt>" not in text
    (out / "environment.json").write_text("{")
    with pytest.raises(InputError, match=r"environment\.json: damaged"):
        publish.page(out)


def test_every_evaluation_has_its_report(finished: Path, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    evaluate_folder(finished / "model", Source(root=tones), "test", out, Console(quiet=True), sound=False)
    text = (out / "report.html").read_text()
    assert "<audio" not in text and "<svg" not in text and "it was left out of this page" in text
    evaluate_folder(finished / "model", Source(root=tones), "dev", out, Console(quiet=True))
    assert "<audio" in (out / "report.html").read_text()


def test_a_licence_that_is_said_later_comes_onto_the_card_and_the_page(finished: Path, tones: Path) -> None:
    recipe = tone_recipe(tones, steps=3)
    for licence in ("unknown", "CC-BY-4.0"):
        corpus = recipe.corpus.model_copy(update={"licence": licence})
        run(recipe.model_copy(update={"corpus": corpus}), finished, Console(quiet=True))
        assert f"as its makers state it: {licence}." in (finished / "model" / "README.md").read_text()
        assert f"<dd>{licence}</dd>" in (finished / "report.html").read_text()


def test_each_of_several_corpora_is_named_with_its_licence(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    kept = read_recipe(out / "recipe.toml")
    corpus = kept.corpus.model_copy(update={"root": Path("/far/ours"), "licence": "CC0"})
    more = (Source(root=Path("/far/theirs"), licence="for research alone"),)
    write_recipe(kept.model_copy(update={"corpus": corpus, "corpora": more}), out / "recipe.toml")
    publish.model_card(out)
    text = (out / "model" / "README.md").read_text()
    assert "ours: CC0; theirs: for research alone" in text and "from ours and theirs" in text
