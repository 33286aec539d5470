"""The page in a real browser: Chromium, its microphone a file."""

import functools
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE_HZ
from playwright import sync_api
from serving import running, wav

from asr_adapt import audio
from asr_adapt.formats import writers
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.serve.limits import Limits

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("ASR_ADAPT_SCREENSHOTS")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture(scope="module")
def spoken(clips: list[Path]) -> np.ndarray:
    pause = np.zeros(RATE_HZ, np.float32)
    return np.concatenate([part for clip in clips for part in (audio.load(clip), pause)] * 2)


@pytest.fixture(scope="module")
def url(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones}) as address:
        yield address


@pytest.fixture(scope="module")
def browser(spoken: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sync_api.Browser]:
    microphone = tmp_path_factory.mktemp("microphone") / "said.wav"
    microphone.write_bytes(wav(spoken[: 10 * RATE_HZ], subtype="PCM_16"))
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--no-sandbox",
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser: sync_api.Browser, url: str) -> Iterator[sync_api.Page]:
    """The page, which must neither raise nor be refused anything."""
    context = browser.new_context(viewport={"width": 900, "height": 760}, accept_downloads=True,
                                  permissions=["clipboard-read", "clipboard-write"])  # fmt: skip
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: complaints.append(request.url)
              if not request.url.startswith((url, "blob:")) else None)  # fmt: skip
    opened.goto(url)
    yield opened
    context.close()
    assert [text for text in complaints if not re.search(r"status of [45]\d\d", text)] == []


def shoot(page: sync_api.Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)


def until(page: sync_api.Page, expression: str, timeout_s: float = 20.0) -> None:
    """Wait for an expression to be true; `wait_for_function` wants `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def give(page: sync_api.Page, data: bytes, name: str = "talk.wav") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": data})


def test_a_file_becomes_words_that_light_up_and_can_be_taken_away(
    page: sync_api.Page, phones: Transcriber, spoken: np.ndarray, tmp_path: Path
) -> None:
    assert "up to 100 MB and 2 hours" in page.locator("#hint").inner_text()
    shoot(page, "idle")
    data = wav(spoken, subtype="PCM_16")
    expected = phones.transcribe(data)
    give(page, data)
    page.wait_for_selector("#downloads a", timeout=60_000)
    assert page.locator(".word").all_inner_texts() == [word.text for word in expected.words]
    assert page.locator(".word.unsure").count() == sum(word.confidence < 0.75 for word in expected.words)
    about = page.locator("#about").inner_text()
    minutes, seconds = divmod(int(expected.duration_s), 60)
    assert about.startswith(f"talk.wav · {minutes}:{seconds:02} · model base")
    times = [divmod(int(segment.start_s), 60) for segment in expected.segments]
    assert page.locator(".time").all_inner_texts() == [f"{minutes}:{seconds:02}" for minutes, seconds in times]
    assert page.locator("#downloads-title").is_visible()
    page.click("#copy")
    until(page, "document.getElementById('copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == expected.text
    page.mouse.wheel(0, 100_000)
    assert page.locator("#audio").bounding_box()["y"] >= 0, "the player stays in view"
    assert page.locator("#work").is_hidden() and page.locator("#error").is_hidden()
    assert page.locator("#downloads a").all_inner_texts() == [
        "TextGrid" if name == "textgrid" else name for name in writers.WRITERS
    ]
    with page.expect_download() as download:
        page.locator("#downloads a", has_text=re.compile("^txt$")).click()
    assert download.value.suggested_filename == "talk.txt"
    assert Path(download.value.path()).read_text() == expected.text + "\n"
    third = page.locator(".word").nth(2)
    third.click()
    page.wait_for_selector(".word.now")
    begins_s = page.evaluate("document.getElementById('audio').currentTime")
    assert begins_s >= expected.words[2].start_s - 0.1
    shoot(page, "transcript")
    page.emulate_media(color_scheme="dark")
    shoot(page, "transcript-dark")


def test_the_keyboard_reaches_every_word(page: sync_api.Page, spoken: np.ndarray) -> None:
    give(page, wav(spoken, subtype="PCM_16"))
    page.wait_for_selector("#downloads a", timeout=60_000)
    page.focus("#text")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator(".word.here").get_attribute("data-index") == "2"
    assert page.locator("#status").inner_text().startswith(page.locator(".word.here").inner_text())
    page.keyboard.press("End")
    assert page.locator(".word.here").get_attribute("data-index") == str(page.locator(".word").count() - 1)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    until(page, "!document.getElementById('audio').paused")
    page.keyboard.press("Space")
    until(page, "document.getElementById('audio').paused")


def test_what_the_microphone_hears_is_transcribed(page: sync_api.Page) -> None:
    before = page.locator("#drop").bounding_box(), page.locator("#record").bounding_box()
    page.click("#record")
    until(page, "document.getElementById('meter').value > 0.02")
    assert (page.locator("#drop").bounding_box(), page.locator("#record").bounding_box()) == before, "nothing jumps"
    until(page, "document.getElementById('clock').textContent >= '0:03'")
    shoot(page, "recording")
    page.click("#record")
    page.wait_for_selector("#downloads a", timeout=60_000)
    assert page.locator(".word").count() > 0 and page.locator("#error").is_hidden()
    until(page, "isFinite(document.getElementById('audio').duration)")
    assert page.evaluate("document.getElementById('audio').duration") >= 2
    until(page, "document.getElementById('audio').currentTime === 0")
    assert re.search(r"recording.webm · 0:0\d", page.locator("#about").inner_text())


def test_a_dropped_file_that_is_no_audio_is_named_in_words(page: sync_api.Page) -> None:
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(["no audio"], "a.wav"));
        dispatchEvent(new DragEvent("drop", {dataTransfer: data}));
    }""")
    page.wait_for_selector("#error:not([hidden])")
    assert page.locator("#error").inner_text().startswith("“a.wav” cannot be read as audio")


def test_a_file_that_is_too_large_is_not_sent(page: sync_api.Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.evaluate("""() => {
        const file = new File(["x"], "long.wav");
        Object.defineProperty(file, "size", {value: 2 ** 40});
        transcribe(file);
    }""")
    assert (
        "“long.wav” is too large: this server accepts files of up to 100 MB." in page.locator("#error").inner_text()
    )
    assert not any("transcriptions" in address for address in sent)


def test_errors_are_explained_with_the_file_s_name(page: sync_api.Page) -> None:
    for status, code, said in (
        (413, "audio_too_long", "“talk.wav” is too long: this server accepts recordings of up to 2 hours."),
        (429, "server_busy", "The server is busy with other recordings. Try again in 7 s."),
        (500, "internal_error", "The server failed on “talk.wav”. Its log says why."),
        (400, "invalid_value", "“talk.wav”: as the server says"),
    ):
        error = {"error": {"message": "as the server says", "type": "x", "param": None, "code": code}}
        headers = {"Retry-After": "7"} if status == 429 else {}
        fulfilled = functools.partial(sync_api.Route.fulfill, status=status, json=error, headers=headers)
        page.route("**/v1/audio/transcriptions", lambda route, _request, fulfill=fulfilled: fulfill(route))
        give(page, wav(np.zeros(RATE_HZ)))
        page.wait_for_selector(f"#error:has-text('{said}')")
        assert said in page.locator("#error").inner_text()
        page.unroute("**/v1/audio/transcriptions")


def test_on_a_phone_the_two_buttons_are_alike_and_nothing_overflows(page: sync_api.Page, spoken: np.ndarray) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    choose, record = (page.locator(name).bounding_box() for name in (".file-input", "#record"))
    assert (choose["x"], choose["width"], choose["height"]) == (record["x"], record["width"], record["height"])
    shoot(page, "phone-idle")
    give(page, wav(spoken[: 20 * RATE_HZ], subtype="PCM_16"))
    page.wait_for_selector("#downloads a", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shoot(page, "phone-transcript")


def test_words_of_a_right_to_left_script_stand_from_right_to_left(page: sync_api.Page) -> None:
    word = {"start": 0.0, "end": 1.0, "confidence": 0.9}
    spoken = [{"word": "مرحبا", **word}, {"word": "بالعالم", "start": 1.0, "end": 2.0, "confidence": 0.7}]
    delta = {"type": "transcript.text.delta", "delta": "مرحبا بالعالم", "start": 0, "end": 2, "words": spoken}
    done = {"type": "transcript.text.done", "text": "مرحبا بالعالم", "language": "ar", "files": {"txt": "x"}}
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in (delta, done))
    page.route("**/v1/audio/transcriptions", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    give(page, wav(np.zeros(RATE_HZ)))
    page.wait_for_selector("#downloads a")
    first, second = (page.locator(".word").nth(number).bounding_box() for number in (0, 1))
    assert first["x"] > second["x"] and page.locator("#text").get_attribute("lang") == "ar"
    assert page.locator(".word.unsure").all_inner_texts() == ["بالعالم"] and page.locator("#doubt").is_visible()
    page.focus("#text")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".word.here").inner_text() == "بالعالم"
    shoot(page, "right-to-left")


def test_a_key_is_asked_for_where_one_is_wanted(browser: sync_api.Browser, phones: Transcriber) -> None:
    with running({"base": lambda: phones}, Limits(), api_keys=["key"]) as url:
        page = browser.new_page()
        page.goto(url)
        data = wav(np.zeros(RATE_HZ, np.float32))
        give(page, data)
        page.wait_for_selector("#error:not([hidden])")
        assert "key" in page.locator("#error").inner_text()
        page.fill("#key", "key")
        give(page, data)
        page.wait_for_selector("#text :text('No speech')")
        assert page.locator("#saving").is_hidden() and page.locator("#copy").is_hidden()
        assert page.locator("#about").inner_text().startswith("talk.wav · 0:01")
        page.close()
