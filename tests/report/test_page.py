"""report.html without a browser: what it contains, and what it does not."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import RATE_HZ, say
from evaluations import evaluation

from asr_adapt import audio
from asr_adapt.artifacts import Assessment, Metrics
from asr_adapt.errors import InputError
from asr_adapt.recipe import Text
from asr_adapt.records import Utterance
from asr_adapt.report import curves, sounds
from asr_adapt.report import page as pages
from asr_adapt.report.train_log import trained_s
from asr_adapt.report.write import write_page
from asr_adapt.scoring import error_analysis
from asr_adapt.scoring.confidence import Outcome, reliability
from asr_adapt.scoring.evaluation import Evaluation

PAIRS = [
    ("ábé cd", "abé cd"),
    ("ab cd e", "ab"),
    ("ab", "ab"),
    ("cd e", "cd a e"),
    ("e é", "e é"),
]


class Page(html.parser.HTMLParser):
    """What a test asks of a page: its elements, and the text in each."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if not self.elements or self.elements[-1][0] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def utterances(self) -> list[dict[str, str]]:
        return [attrs for attrs in self.all("li") if "data-line" in attrs]

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements
                if name == tag and all(attrs.get(key) == value for key, value in wanted.items())]  # fmt: skip


def test_rates_are_pooled_over_utterances_and_not_their_mean(tmp_path: Path) -> None:
    metrics = json.loads((evaluation(tmp_path / "e", PAIRS) / "metrics.json").read_text())
    assert metrics["words"] == 2 + 3 + 1 + 2 + 2
    assert (metrics["substitutions"], metrics["deletions"], metrics["insertions"]) == (1, 2, 1)
    assert metrics["wer"] == pytest.approx(4 / 10)
    assert metrics["cer"] == pytest.approx((1 + 5 + 2) / (6 + 7 + 2 + 4 + 3)), "letters and the spaces between words"


def test_the_error_rates_are_those_of_metrics_json(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS * 10)
    page = Page(write_page(folder))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["audio_s"] > 120
    for name in ("wer", "cer"):
        tile = page.source.split(f'<div class="tile" id="{name}">')[1].split("</div>")[0]
        shown = [float(value) for value in re.findall(r'<data value="([^"]+)">', tile)]
        assert shown == [metrics[name], *metrics[f"{name}_ci95"]]
        assert f">{metrics[name]:.3f}</data>" in tile
    counts = "{words} reference words: {substitutions} substitutions, {deletions} deletions, {insertions} insertions."
    assert counts.format(**metrics) in page.text
    assert metrics["normaliser"] in page.text and metrics["decoding"] in page.text


def test_a_tiny_test_set_has_no_interval_but_the_words_too_little_to_measure(tmp_path: Path) -> None:
    page = Page(write_page(evaluation(tmp_path / "e", PAIRS)))
    tile = page.source.split('<div class="tile" id="wer">')[1].split("</div>")[0]
    assert "too little to measure: 5 utterances, 14 s" in tile and "interval" not in tile and "track" not in tile
    assert "Too little to measure: 5 utterances, 14 s." in page.source.split('id="verdict"')[1].split("</section>")[0]


def test_how_right_confidences_are_is_drawn_with_the_expected_calibration_error(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    assert 'id="confidence"' not in Page(write_page(folder)).source, "no word has a confidence here"
    outcomes = [Outcome(0.9, True)] * 6 + [Outcome(0.9, False)] * 2 + [Outcome(0.25, False)] * 2
    for calibrated, said in ((True, "Calibrated on dev."), (False, "Not calibrated")):
        quality = reliability(outcomes, calibrated=calibrated)
        Assessment(level="draft", verdict="A draft.", confidence=quality).write(folder)
        page = Page(write_page(folder))
        assert said in page.text and "8 words: confidence 0.900, 0.750 right" in page.text
        assert "Expected calibration error on test: 0.170 , over 10 words" in page.text


def test_errors_in_marks_are_shown_apart(tmp_path: Path) -> None:
    page = Page(write_page(evaluation(tmp_path / "e", PAIRS)))
    assert page.all("data", id="marks-wrong", value="1")
    assert "acute accent no mark 1" in page.text
    plain = Page(write_page(evaluation(tmp_path / "plain", [("ab", "b")])))
    assert "Neither references nor hypotheses have marks" in plain.text and "CER without marks" not in plain.text


def test_utterances_are_listed_worst_first_aligned_and_with_their_recordings(tmp_path: Path) -> None:
    page = Page(write_page(evaluation(tmp_path / "e", PAIRS)))
    shown = page.utterances
    assert [int(one["data-errors"]) for one in shown] == [2, 1, 1, 0, 0]
    assert shown[0]["data-line"] == "2", "the line of hypotheses.jsonl"
    assert page.source.split('<ol id="list"')[1].count('class="pair delete"') == 2
    assert "áb<u>" not in page.source and "<u>á</u>bé" in page.source, "the letters that differ are marked"
    players = page.all("audio")
    assert len(players) == len(PAIRS) and all("controls" in player for player in players)
    assert all(direction["dir"] == "auto" and direction["lang"] == "mdw" for direction in page.all("div", dir="auto"))


def test_each_recording_is_that_of_its_utterance(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS[:1])
    (player,) = Page(write_page(folder)).all("audio")
    data = base64.b64decode(player["src"].removeprefix("data:audio/ogg;base64,"))
    assert soundfile.info(io.BytesIO(data)).subtype == "OPUS"
    (clip,) = folder.glob("*.wav")
    assert len(audio.load(data)) == pytest.approx(len(audio.load(clip)), abs=0.02 * RATE_HZ)


def test_opus_is_small_and_sounds_the_same() -> None:
    waveform = say("abcde" * 5)
    data = audio.encode_opus(waveform)
    assert len(data) * 8 / (len(waveform) / RATE_HZ) < 40_000
    again = audio.load(data)[: len(waveform)]
    overlap = (again @ waveform) / ((again @ again) * (waveform @ waveform)) ** 0.5
    assert overlap > 0.9


def test_a_page_without_recordings_or_names_says_so_and_contains_neither(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    silent = Page(write_page(folder, sound=False))
    assert (
        not silent.all("audio")
        and "data:audio" not in silent.source
        and "this page was made without them" in silent.text
    )
    assert "anna" not in silent.source and ".wav" not in silent.source and str(tmp_path) not in silent.source
    assert "speaker 1" in silent.text and "speaker 2" in silent.text
    named = Page(write_page(folder, names=True))
    assert "anna" in named.text and "anna-0.wav" in named.text and "speaker 1" not in named.text
    assert "This page contains recordings of people's voices" in named.text


def test_recordings_are_those_of_the_worst_utterances_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    monkeypatch.setattr(sounds, "CLIPS", 2)
    page = Page(write_page(folder))
    played = [item for item, player in zip(page.utterances, _players(page), strict=True) if player]
    assert [one["data-errors"] for one in played] == ["2", "1"]
    assert "Recordings are included for the 2 utterances with the most errors" in page.text
    monkeypatch.setattr(sounds, "AUDIO_BYTES", 100)
    assert not Page(write_page(folder)).all("audio")


def _players(page: Page) -> list[bool]:
    return ["<audio" in item.split("</li>")[0] for item in page.source.split("<li ")[1:]]


def test_a_missing_recording_leaves_its_utterance_without_one(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    (folder / "anna-0.wav").unlink()
    page = Page(write_page(folder))
    assert len(page.all("audio")) == len(PAIRS) - 1 and len(page.utterances) == len(PAIRS)
    assert "as far as they can be decoded" in page.text


def test_utterances_beyond_the_limit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SHOWN", 3)
    page = Page(write_page(evaluation(tmp_path / "e", PAIRS)))
    assert (
        len(page.utterances) == 3
        and "Shown are the 3 utterances with the most errors; all 5 are in hypotheses.jsonl." in page.text
    )


def test_a_transcript_in_markup_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    folder = evaluation(tmp_path / "e", [(f"{evil} a b c", "ab"), ("ab c d", evil)], rules=Text(keep="<>/()"))
    page = Page(write_page(folder))
    assert len(page.all("script")) == 1 and all(evil in one["data-text"] for one in page.utterances)
    assert [one["data-find"] for one in page.all("button")].count(evil) == 2, "among the words confused, too"


def test_nothing_that_a_corpus_holds_becomes_markup(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", [("ab", "ab")])
    evil = "</title></li>\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
    utterance = Utterance(id=evil, audio="a", speaker=evil, text=evil, hypothesis=f"{evil} {evil}")
    facts = pages.Facts(evil, evil, {evil: evil}, [pages.Excluded(evil, evil, 1, evil)], [evil])
    found = Evaluation(Metrics.read(folder), error_analysis.score([utterance], str))
    text = pages.page(
        found, facts, Assessment(level="draft", verdict=evil, reason=evil, advice=(evil,)), [], None, names=True
    )
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page = Page(tmp_path / "page.html")
    assert len(page.all("script")) == 1 and not page.all("img") and len(page.utterances) == 1
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_the_page_reaches_for_nothing_and_runs_its_own_script_alone(tmp_path: Path) -> None:
    page = Page(write_page(evaluation(tmp_path / "e", PAIRS)))
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "poster", "srcset"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "http://" not in page.source and "https://" not in page.source and "@import" not in page.source
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    script = page.source.split("<script>")[1].split("</script>")[0]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_excluded_utterances_are_counted_with_their_reason(tmp_path: Path) -> None:
    page = Page(write_page(evaluation(tmp_path / "e", PAIRS, excluded={"unreadable_audio": 7})))
    assert "test unreadable audio 7" in page.text
    assert "every utterance of test was scored" in Page(write_page(evaluation(tmp_path / "f", PAIRS))).text


def test_a_script_without_spaces_is_aligned_by_characters_and_headlines_cer(tmp_path: Path) -> None:
    text = "กขฃคฅฆงจฉช"
    page = Page(write_page(evaluation(tmp_path / "e", [(text, text.replace("ค", "ข")), (text, text)], "th")))
    assert page.source.index('id="cer"') < page.source.index('id="wer"')
    assert "The reference is above the hypothesis, aligned by characters" in page.text
    assert (
        page.source.split('<ol id="list"')[1].count('<span class="pair"><span class="reference">')
        == 2 * len(text) - 1
    )


def test_metrics_of_other_hypotheses_are_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    lines = (folder / "hypotheses.jsonl").read_text().splitlines(keepends=True)
    (folder / "hypotheses.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"metrics\.json does not match hypotheses\.jsonl"):
        write_page(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(("lost", "complaint"), [
    ("metrics.json", "no evaluation here"),
    ("model/asr_adapt.json", "not an asr-adapt model"),
    ("hypotheses.jsonl", "no such file"),
])  # fmt: skip
def test_a_folder_that_lacks_something_is_refused_in_one_line(tmp_path: Path, lost: str, complaint: str) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    (folder / lost).unlink()
    with pytest.raises(InputError, match=complaint):
        write_page(folder)


def test_the_evaluated_model_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    shutil.move(folder / "model", tmp_path / "elsewhere")
    assert write_page(folder, tmp_path / "elsewhere").is_file()


def test_curves_are_drawn_from_the_training_log(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    lines = [{"step": step, "loss": None if step == 2 else 10 / step} for step in range(1, 6)]
    lines += [{"step": 3, "dev_wer": 1.0, "dev_cer": 0.5}, {"step": 5, "dev_wer": 0.8, "dev_cer": 0.25}]
    log = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 6, "lo'
    (folder / "train_log.jsonl").write_text(log)
    page = Page(write_page(folder))
    labels = [one["aria-label"] for one in page.all("svg")]
    assert labels == [
        "Training loss: loss from 10.000 at step 1 to 2.000 at step 5",
        "Error rates on dev: "
        "WER from 1.000 at step 3 to 0.800 at step 5; CER from 0.500 at step 3 to 0.250 at step 5",
    ]
    points = [len(one["points"].split()) for one in page.all("polyline")]
    assert points == [4, 2, 2], "a loss that was not finite is skipped"
    assert not Page(write_page(evaluation(tmp_path / "f", PAIRS))).all("svg"), "an evaluation alone has none"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"step": 2, "loss"\n', "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"[2, 1.5]\n", "not a line of a training log"),
        (b'{"loss": 1.5}\n', "not a line of a training log"),
        (b'{"step": "2"}\n', "not a line of a training log"),
    ],
)
def test_a_damaged_line_of_the_log_is_named(tmp_path: Path, line: bytes, problem: str) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    (folder / "train_log.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n' + line)
    with pytest.raises(InputError, match=rf"train_log\.jsonl:2: {problem}.*Delete the line"):
        write_page(folder)
    with pytest.raises(InputError, match=rf"train_log\.jsonl:2: {problem}.*Delete the line"):
        trained_s(folder)


def test_the_seconds_of_training_leave_a_truncated_last_line_out(tmp_path: Path) -> None:
    log = b'{"step": 1, "elapsed_s": 2.5}\n{"step": 1, "dev_wer": 0.5}\n{"step": 2, "elapsed_s": null}\n'
    (tmp_path / "train_log.jsonl").write_bytes(log + b'{"step": 3, "elapsed_s": 1')
    assert trained_s(tmp_path) == 2.5


@pytest.mark.parametrize(
    ("rtfx", "shown"), [(0.04, "0.04"), (0.4, "0.4"), (9.87, "9.9"), (12.3, "12"), (1234.5, "1234")]
)
def test_a_slow_model_has_a_speed_too(tmp_path: Path, rtfx: float, shown: str) -> None:
    folder = evaluation(tmp_path / "e", PAIRS)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"transcribe_rtfx": rtfx}))
    assert f" {shown} seconds of audio per second" in Page(write_page(folder)).text


def test_a_chart_is_true_to_scale_and_bounded() -> None:
    drawn = curves.chart("x", [curves.Line("a", [(step, step / 2) for step in range(1, 100_001)])])
    assert drawn is not None
    points = [tuple(map(float, point.split(","))) for point in drawn.lines[0].path.split()]
    assert len(points) < 500 and points[-1] == (drawn.right, dict((t, y) for y, t in drawn.up)["50000"])
    assert curves.chart("x", [curves.Line("a", [(1, 2.0)])]) is None


@pytest.mark.parametrize(("most", "expected"), [
    (4.0, [0, 1, 2, 3, 4]),
    (0.93, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (0.0, [0, 1]),
])  # fmt: skip
def test_ticks_are_round(most: float, expected: list[float]) -> None:
    assert curves.ticks(most, 5) == pytest.approx(expected)


def test_the_lines_names_never_overlap() -> None:
    flat = curves.chart("x", [curves.Line(name, [(1, 1.0), (2, value)]) for name, value in (("a", 0.5), ("b", 0.5))])
    assert flat is not None
    first, second = (line.label_y for line in flat.lines)
    assert abs(first - second) >= 12
