"""report.html in a real browser, without a server and without a network."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import tone_recipe
from evaluations import evaluation
from playwright import sync_api

from asr_adapt.console import Console
from asr_adapt.recipe import Corpus, Model, Recipe, Train
from asr_adapt.report.write import write_page
from asr_adapt.workflows.run import run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("ASR_ADAPT_SCREENSHOTS")
PAIRS = [
    ("ábé cd", "abé cd"),
    ("ab cd e", "ab"),
    ("ab", "ab"),
    ("cd e", "cd a e"),
    ("e é", "e é"),
    ("cd cd", "cd cd"),
]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A page that must neither complain nor ask for anything."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("request", lambda request: complaints.append(request.url)
              if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
    yield opened
    context.close()
    assert complaints == []


def shoot(page: sync_api.Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)


def lines(page: sync_api.Page) -> list[str]:
    """The utterances that are seen, by their lines in hypotheses.jsonl, from the top."""
    return page.locator("#list > li:visible").evaluate_all("items => items.map((item) => item.dataset.line)")


def plays(page: sync_api.Page, number: int) -> None:
    """Play the sound of an utterance, which must go on."""
    page.evaluate("number => document.querySelectorAll('audio')[number].play()", number)
    page.wait_for_function("number => document.querySelectorAll('audio')[number].currentTime > 0.1", arg=number)


def test_the_sound_plays_one_utterance_at_a_time(page: sync_api.Page, tmp_path: Path) -> None:
    page.goto(write_page(evaluation(tmp_path / "e", PAIRS)).as_uri())
    plays(page, 1)
    plays(page, 2)
    states = page.evaluate("[...document.querySelectorAll('audio')].map((audio) => [audio.paused, audio.ended])")
    assert states[1:3] == [[True, False], [False, False]]
    length_s = page.evaluate("document.querySelectorAll('audio')[2].duration")
    assert length_s == pytest.approx(float(page.locator("#list > li").nth(2).get_attribute("data-seconds")), abs=0.03)


def test_utterances_are_found_and_sorted(page: sync_api.Page, tmp_path: Path) -> None:
    page.goto(write_page(evaluation(tmp_path / "e", PAIRS)).as_uri())
    shoot(page, "report")
    assert lines(page) == ["2", "4", "1", "3", "5", "6"] and page.inner_text("#count") == "6 of 6 utterances"
    page.fill("#search", "CD E")
    assert lines(page) == ["2", "4"] and page.inner_text("#count") == "2 of 6 utterances"
    page.fill("#search", "E\u0301")
    assert lines(page) == ["1", "5"], "as it is typed, composed or not"
    page.fill("#search", "nowhere")
    assert lines(page) == []
    page.fill("#search", "")
    page.select_option("#speaker", "speaker 2")
    assert lines(page) == ["2", "4", "6"]
    page.select_option("#speaker", "")
    page.select_option("#sort", "-errors")
    assert lines(page)[-3:] == ["1", "4", "2"]
    page.select_option("#sort", "-line")
    assert lines(page) == ["1", "2", "3", "4", "5", "6"]
    page.select_option("#sort", "speaker")
    assert lines(page) == ["1", "3", "5", "2", "4", "6"]
    page.select_option("#sort", "seconds")
    seconds = page.locator("#list > li").evaluate_all("items => items.map((item) => Number(item.dataset.seconds))")
    assert seconds == sorted(seconds, reverse=True)
    page.select_option("#sort", "rate")
    assert lines(page)[0] == "2"


def test_a_confused_word_leads_to_its_utterances(page: sync_api.Page, tmp_path: Path) -> None:
    page.goto(write_page(evaluation(tmp_path / "e", PAIRS)).as_uri())
    page.get_by_role("button", name="ábé", exact=True).click()
    assert lines(page) == ["1"] and page.input_value("#search") == "ábé"


def test_a_confused_word_is_sought_as_a_word_and_what_is_typed_as_a_part(page: sync_api.Page, tmp_path: Path) -> None:
    pairs = [("ab cd", "cd"), ("abe cd", "abe cd"), ("cd ab", "cd ab"), ("cd cab", "cd cab")]
    page.goto(write_page(evaluation(tmp_path / "e", pairs)).as_uri())
    page.get_by_role("button", name="ab", exact=True).click()
    assert lines(page) == ["1", "3"]
    page.fill("#search", "ab ")
    assert lines(page) == ["1", "2", "3", "4"]


def test_the_keyboard_reaches_the_search_and_the_sound(page: sync_api.Page, tmp_path: Path) -> None:
    page.goto(write_page(evaluation(tmp_path / "e", PAIRS)).as_uri())
    page.focus("#search")
    page.keyboard.type("abé")
    assert lines(page) == ["1"]
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "AUDIO"
    page.keyboard.press("Space")
    page.wait_for_function("() => document.activeElement.currentTime > 0.1")


def test_words_of_a_right_to_left_script_stand_from_right_to_left(page: sync_api.Page, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", [("مرحبا بالعالم كله", "مرحبا بالعلم")], "ar")
    page.goto(write_page(folder).as_uri())
    first, second = (page.locator("#list .reference").nth(number).bounding_box() for number in (0, 1))
    assert first is not None and second is not None and first["x"] > second["x"]
    shoot(page, "report-right-to-left")


def test_it_reads_in_the_dark_on_a_phone_and_on_paper(page: sync_api.Page, tmp_path: Path) -> None:
    page.goto(write_page(evaluation(tmp_path / "e", PAIRS)).as_uri())
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) != light
    shoot(page, "report-dark")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.locator("#controls").is_hidden() and not page.locator("audio:visible").count()


def test_the_report_of_a_run_shows_its_figures_and_plays(page: sync_api.Page, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = run(tone_recipe(tones, steps=2), out, Console(quiet=True))
    page.goto((out / "report.html").as_uri())
    assert page.inner_text("#wer .figure") == f"{metrics.wer:.3f}"
    assert page.inner_text("#cer .figure") == f"{metrics.cer:.3f}"
    plays(page, 0)


@pytest.mark.mboshi
def test_the_report_of_real_field_speech_shows_its_figures_and_plays(
    page: sync_api.Page, mboshi: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        language="mdw",
        corpus=Corpus(root=mboshi, max_train_hours=0.02),
        model=Model(base="embedded-small"),
        train=Train(steps=2, batch_s=10, head_steps=1),
    )
    out = tmp_path / "run"
    run(recipe, out, Console(quiet=True))
    metrics = json.loads((out / "metrics.json").read_text())
    page.goto((out / "report.html").as_uri())
    for name in ("wer", "cer"):
        shown = page.locator(f"#{name} data").evaluate_all("items => items.map((item) => Number(item.value))")
        assert shown == [metrics[name], *metrics[f"{name}_ci95"]]
    assert page.locator("audio").count() == 200 and page.locator("#list > li").count() == 257
    plays(page, 0)
    plays(page, 199)
