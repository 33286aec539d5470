"""Clients as they are: hard-coded model names, empty fields, odd part headers, schemas that require every field."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import RATE_HZ
from openai.types import Model
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)
from serving import post, problem, running, wav

from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.serve import service

PATH = "/v1/audio/transcriptions"
PACKAGES = ("openai@7", "ai@7", "@ai-sdk/openai@4")


@pytest.fixture(scope="module")
def url(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones, "org/other": lambda: phones}, origins=["https://a.example"]) as address:
        yield address


@pytest.fixture(scope="module")
def data(clips: list[Path]) -> bytes:
    return clips[0].read_bytes()


def test_every_format_fits_openai_s_types(url: str, data: bytes) -> None:
    Transcription.model_validate(post(url, data).json(), strict=True)
    answer = post(url, data, response_format="verbose_json", timestamp_granularities__=["word", "segment"]).json()
    verbose = TranscriptionVerbose.model_validate(answer, strict=True)
    assert answer["task"] == "transcribe" and verbose.segments and verbose.words
    for segment in verbose.segments:
        assert segment.avg_logprob < 0 < segment.compression_ratio and segment.temperature == 0
        assert (segment.seek, segment.tokens, segment.no_speech_prob) == (0, [], 0)
    silence = post(url, _silence(), response_format="verbose_json").json()
    assert TranscriptionVerbose.model_validate(silence, strict=True).segments == []
    for item in httpx.get(f"{url}/v1/models").json()["data"]:
        Model.model_validate(item, strict=True)


def test_streamed_events_fit_openai_s_types(url: str, data: bytes) -> None:
    lines = post(url, data, stream="true").text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    for event in events[:-1]:
        TranscriptionTextDeltaEvent.model_validate(event, strict=True)
    TranscriptionTextDoneEvent.model_validate(events[-1], strict=True)
    assert len(events) > 1


def _silence() -> bytes:
    return wav(np.zeros(RATE_HZ, np.float32))


def test_a_browser_may_send_the_headers_of_openai_s_client(url: str) -> None:
    sent = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,x-stainless-timeout,openai-beta"
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": sent}  # fmt: skip
    answer = httpx.options(url + PATH, headers=preflight)
    assert answer.status_code == 200
    assert set(sent.split(",")) <= {
        h.strip() for h in answer.headers["access-control-allow-headers"].lower().split(",")
    }
    other = httpx.options(url + PATH, headers=preflight | {"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_prompt_without_beam_search_is_ignored_and_said_so(
    url: str, data: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service._log_ignored_prompt.cache_clear()
    plain = post(url, data)
    assert "X-Prompt-Ignored" not in plain.headers
    with monkeypatch.context() as patch:
        patch.setattr(service.LoadedModel, "__getattribute__", _without_search)
        for fields in ({}, {"stream": "true"}, {"response_format": "text"}):
            answer = post(url, data, prompt="aba", **fields)
            assert answer.status_code == 200 and "beam search" in answer.headers["X-Prompt-Ignored"]
        assert post(url, data, prompt="aba").json() == plain.json()
        assert "X-Prompt-Ignored" not in post(url, data, prompt=" ").headers
    assert caplog.text.count("prompts for model 'base' are ignored") == 1


def _without_search(model: object, name: str) -> object:
    return None if name == "search" else object.__getattribute__(model, name)


def test_an_empty_field_is_its_default(url: str, data: bytes) -> None:
    fields = ("model", "language", "prompt", "response_format", "temperature", "stream", "timestamp_granularities__",
              "include__")  # fmt: skip
    answer = post(url, data, **dict.fromkeys(fields, ""))
    assert answer.status_code == 200 and answer.json() == post(url, data).json()


@pytest.mark.parametrize(
    "name", ["timestamp_granularities[0]", "timestamp_granularities", "timestamp_granularities[]"]
)
def test_a_list_may_be_indexed(url: str, data: bytes, name: str) -> None:
    answer = post(url, data, response_format="verbose_json", **{name: "word"}).json()
    assert answer["words"] and "segments" not in answer
    assert post(url, data, response_format="verbose_json", **{name: "letter"}).status_code == 400


def test_an_unknown_model_is_told_how_to_serve_one_under_that_name(url: str, data: bytes) -> None:
    answer = post(url, data, model="whisper-1")
    assert answer.status_code == 404 and problem(answer)["code"] == "model_not_found"
    assert "--model whisper-1=DIR" in problem(answer)["message"] and "--any-model" in problem(answer)["message"]
    assert "--model NAME=DIR" in problem(post(url, data, model="<b>\n"))["message"]


def test_any_model_serves_the_first_under_every_name(phones: Transcriber, data: bytes) -> None:
    with running({"base": lambda: phones}, any_model=True) as url:
        assert post(url, data, model="whisper-1").json() == post(url, data, model="base").json()
        assert httpx.get(f"{url}/v1/models/gpt-4o-transcribe").json()["id"] == "base"


def test_a_model_is_shown_by_its_name(url: str) -> None:
    assert httpx.get(f"{url}/v1/models/org/other").json()["id"] == "org/other"
    assert httpx.get(f"{url}/v1/models/whisper-1").status_code == 404


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/docs", "/ready"])
def test_head_is_get_without_the_body(url: str, path: str) -> None:
    got, head = httpx.get(url + path), httpx.head(url + path)
    assert head.status_code == got.status_code == 200 and head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]
    assert httpx.head(url + PATH).status_code == 405


@pytest.mark.parametrize(
    "disposition",
    [b"filename*=UTF-8''a%20b.wav", b"FileName*=utf-8''%F0%9F%8E%A4.wav", b"filename=\"a\"; filename*=utf-8''b"],
)
def test_a_part_with_an_extended_name_is_a_file(url: str, data: bytes, disposition: bytes) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\n"
    answer = httpx.post(url + PATH, content=part + data + b"\r\n--b--\r\n",
                        headers={"Content-Type": "multipart/form-data; boundary=b"}, timeout=60)  # fmt: skip
    assert answer.status_code == 200 and answer.json() == post(url, data).json()


def test_translation_is_not_offered_and_says_so(url: str, data: bytes) -> None:
    answer = httpx.post(f"{url}/v1/audio/translations", files={"file": ("a.wav", data)})
    assert answer.status_code == 404 and problem(answer)["code"] == "not_offered"


NODE = """
import fs from "node:fs";
import OpenAI from "openai";
import { createOpenAI } from "@ai-sdk/openai";
import * as ai from "ai";
const [baseURL, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none" });
const plain = await client.audio.transcriptions.create({ model: "base", file: fs.createReadStream(path) });
const verbose = await client.audio.transcriptions.create({
  model: "base", file: fs.createReadStream(path), response_format: "verbose_json",
  timestamp_granularities: ["word"] });
let streamed = "";
for await (const event of await client.audio.transcriptions.create({
  model: "base", file: fs.createReadStream(path), stream: true }))
  if (event.type === "transcript.text.delta") streamed += event.delta;
const transcribe = ai.transcribe ?? ai.experimental_transcribe;
const vercel = await transcribe({
  model: createOpenAI({ baseURL, apiKey: "none" }).transcription("whisper-1"), audio: fs.readFileSync(path) });
console.log(JSON.stringify({ plain: plain.text, words: verbose.words.length, streamed, vercel: vercel.text,
                             seconds: vercel.durationInSeconds }));
"""


@pytest.mark.slow
def test_the_clients_of_npm_work(phones: Transcriber, clips: list[Path], tmp_path: Path) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node and npm here")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    install = subprocess.run(["npm", "install", "--no-audit", "--no-fund", *PACKAGES], cwd=tmp_path,
                             capture_output=True, text=True)  # fmt: skip
    if install.returncode:
        pytest.skip(f"npm cannot install the clients here: {install.stderr.strip()[-200:]}")
    (tmp_path / "main.js").write_text(NODE)
    expected = phones.transcribe(clips[0])
    with running({"base": lambda: phones}, any_model=True) as url:
        command = ["node", "main.js", f"{url}/v1", str(clips[0])]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout)
    assert answers["plain"] == answers["streamed"] == answers["vercel"] == expected.text
    assert answers["words"] == len(expected.words)
    assert answers["seconds"] == pytest.approx(expected.duration_s, abs=0.01)
