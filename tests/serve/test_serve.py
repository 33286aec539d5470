"""The server: OpenAI's client in every format, what may be asked, and who may ask."""

import json
import logging
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from conftest import RATE_HZ
from serving import metric, post, problem, running, start, until, wav

from asr_adapt import audio, bundled
from asr_adapt.artifacts import NGramWeights
from asr_adapt.decoding.beam_search import BeamSearch
from asr_adapt.formats import writers
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import forward
from asr_adapt.serve import server


@pytest.fixture(scope="module")
def url(phones: Transcriber) -> Iterator[str]:
    with running({"base": lambda: phones, "other": lambda: phones}) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def long(clips: list[Path]) -> bytes:
    """A recording of several pieces, as WAV."""
    pause = np.zeros(RATE_HZ, np.float32)
    parts = [part for clip in clips for part in (audio.load(clip), pause)]
    return wav(np.concatenate(parts * (1 + int(40 * RATE_HZ / sum(map(len, parts))))))


def test_a_server_silences_warnings_about_uploads_only_while_it_runs(phones: Transcriber) -> None:
    def levels() -> list[int]:
        return [logging.getLogger(name).level for name in ("python_multipart", "asr_adapt.audio")]

    before = levels()
    with running({"base": lambda: phones}):
        assert levels() == [logging.CRITICAL, logging.ERROR]
    assert levels() == before


def test_openai_s_client_reads_every_format(client: openai.OpenAI, phones: Transcriber, clips: list[Path]) -> None:
    expected = phones.transcribe(clips[0])
    assert expected.text
    with clips[0].open("rb") as file:
        plain = client.audio.transcriptions.create(model="base", file=file)
    assert plain.text == expected.text
    verbose = client.audio.transcriptions.create(
        model="base", file=clips[0], response_format="verbose_json", timestamp_granularities=["word", "segment"],
        temperature=0.0, language="mi",
    )  # fmt: skip
    assert verbose.text == expected.text and verbose.duration == pytest.approx(expected.duration_s, abs=1e-3)
    assert [word.word for word in verbose.words] == [word.text for word in expected.words]
    assert [word.start for word in verbose.words] == pytest.approx([w.start_s for w in expected.words], abs=1e-3)
    assert [segment.text for segment in verbose.segments] == [segment.text for segment in expected.segments]
    text = client.audio.transcriptions.create(model="base", file=clips[0], response_format="text")
    assert str(text).strip() == expected.text


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_subtitles_are_those_that_the_command_line_writes(
    client: openai.OpenAI, phones: Transcriber, clips: list[Path], name: str
) -> None:
    text = client.audio.transcriptions.create(model="base", file=clips[0], response_format=name)
    assert str(text) == writers.WRITERS[name](phones.transcribe(clips[0]))


def test_streamed_deltas_are_the_text_and_come_before_it(
    client: openai.OpenAI, phones: Transcriber, long: bytes
) -> None:
    expected = phones.transcribe(long)
    events = list(client.audio.transcriptions.create(model="base", file=("a.wav", long), stream=True))
    assert len(events) > 2
    assert [event.type for event in events] == ["transcript.text.delta"] * (len(events) - 1) + [
        "transcript.text.done"
    ]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == expected.text


def test_a_long_recording_is_what_the_command_line_makes_of_it(url: str, phones: Transcriber, long: bytes) -> None:
    answer = post(url, long, response_format="verbose_json", timestamp_granularities__=["word", "segment"],
                  include__="files")  # fmt: skip
    fields = answer.json()
    expected = phones.transcribe(long)
    files = fields.pop("files")
    assert fields == json.loads(writers.to_json(expected)) and len(fields["segments"]) > 1
    written = {name: write(expected) for name, write in writers.WRITERS.items()}
    for transcripts in (files, written):  # ELAN's says when it was written
        transcripts["eaf"] = re.sub(r' DATE="[^"]*"', "", transcripts["eaf"])
    assert files == written


def test_times_are_given_of_what_was_asked_for(url: str, clips: list[Path]) -> None:
    data = clips[0].read_bytes()
    assert "words" not in post(url, data, response_format="verbose_json").json()
    words = post(url, data, response_format="verbose_json", timestamp_granularities__="word").json()
    assert words["words"] and "segments" not in words


def test_models_are_listed_and_an_unknown_one_is_404(client: openai.OpenAI, clips: list[Path]) -> None:
    assert [model.id for model in client.models.list()] == ["base", "other"]
    assert client.models.retrieve("other").id == "other"
    with pytest.raises(openai.NotFoundError) as error:
        client.audio.transcriptions.create(model="whisper-1", file=clips[0])
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("whisper-1")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "doc"}, "response_format"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "2"}, "temperature"),
        ({"language": "not a tag"}, "language"),
        ({"timestamp_granularities__": "letter", "response_format": "verbose_json"}, "timestamp_granularities[]"),
        ({"timestamp_granularities__": "word"}, "timestamp_granularities[]"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream": "true", "response_format": "text"}, "stream"),
        ({"include__": "files"}, "include[]"),
        ({"model": ["base", "other"]}, "model"),
    ],
)
def test_a_wrong_field_is_400_and_named(url: str, clips: list[Path], fields: dict, param: str) -> None:
    answer = post(url, clips[0].read_bytes(), **fields)
    assert answer.status_code == 400 and problem(answer)["param"] == param


def test_what_is_no_form_with_a_file_is_refused(url: str) -> None:
    address = f"{url}/v1/audio/transcriptions"
    assert problem(httpx.post(address, json={})) and httpx.post(address, json={}).status_code == 415
    missing = httpx.post(address, files={"model": (None, "base")})
    assert missing.status_code == 400 and problem(missing)["param"] == "file"
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        broken = httpx.post(address, content=b"--y\r\nno form", headers={"Content-Type": kind})
        assert broken.status_code == 400 and problem(broken)
    two = httpx.post(address, files=[("file", ("a", b"x")), ("file", ("b", b"x"))])
    assert two.status_code == 400 and problem(two)


def test_unknown_paths_and_methods_have_the_same_shape(url: str) -> None:
    assert problem(httpx.get(f"{url}/v2")) and httpx.get(f"{url}/v2").status_code == 404
    assert httpx.get(f"{url}/v1/audio/transcriptions").status_code == 405
    assert problem(httpx.get(f"{url}/v1/audio/transcriptions"))


def test_an_api_key_is_wanted_where_there_is_one(phones: Transcriber, clips: list[Path]) -> None:
    with running({"base": lambda: phones}, api_keys=["first", "second"]) as url:
        for key in ("", "third", "firs", "first second"):
            with pytest.raises(openai.AuthenticationError) as error:
                openai.OpenAI(base_url=f"{url}/v1", api_key=key or "x", max_retries=0).models.list()
            assert error.value.code == "invalid_api_key"
        answer = post(url, clips[0].read_bytes())
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        second = openai.OpenAI(base_url=f"{url}/v1", api_key="second", max_retries=0)
        assert second.audio.transcriptions.create(model="base", file=clips[0]).text
        assert httpx.get(f"{url}/health").status_code == httpx.get(f"{url}/").status_code == 200


def test_other_sites_may_not_call_it_unless_told(url: str, phones: Transcriber) -> None:
    ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    address = "/v1/audio/transcriptions"
    assert "access-control-allow-origin" not in httpx.options(url + address, headers=ask).headers
    with running({"base": lambda: phones}, origins=["https://a.example"]) as other:
        allowed = httpx.options(other + address, headers=ask).headers
        assert allowed["access-control-allow-origin"] == "https://a.example"


def test_until_the_model_is_loaded_it_is_alive_and_not_ready(phones: Transcriber, clips: list[Path]) -> None:
    may_load = threading.Event()

    def load() -> Transcriber:
        may_load.wait()
        return phones

    with running({"base": load}, wait=False) as url:
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/ready").status_code == 503
        early = post(url, clips[0].read_bytes())
        assert early.status_code == 503 and problem(early)["code"] == "not_ready" and early.headers["Retry-After"]
        may_load.set()
        until(lambda: httpx.get(f"{url}/ready").status_code == 200)
        assert post(url, clips[0].read_bytes()).status_code == 200


def test_prometheus_is_told_what_was_done(url: str, clips: list[Path]) -> None:
    before = metric(url, "asr_audio_seconds_total"), metric(url, "asr_requests_total")
    duration_s = post(url, clips[0].read_bytes(), response_format="verbose_json").json()["duration"]
    assert metric(url, "asr_audio_seconds_total") - before[0] == pytest.approx(duration_s, abs=0.01)
    assert metric(url, "asr_requests_total") > before[1]
    assert metric(url, "asr_requests_inside") == 0 and metric(url, "asr_queue_audio_seconds") == pytest.approx(0)
    assert metric(url, "asr_batch_pieces_count") >= 1


def test_a_prompt_s_words_are_favoured(url: str, phones: Transcriber, clips: list[Path]) -> None:
    pytest.importorskip("ctc_beam_decoder")
    data = clips[0].read_bytes()
    heard = phones.transcribe(data).text
    assert post(url, data, prompt="… !?").json()["text"] == heard, "no word, no change"
    search = BeamSearch(phones.model.alphabet, None, NGramWeights())
    (said,) = forward.log_probs(phones.model, [audio.load(data)])
    alone = search.text(said)
    near = (word[:-1] + unit for word in alone.split() for unit in phones.model.alphabet.units[2:])
    expected = next(word for word in near if search.text(said, [word]) != alone)
    assert post(url, data, prompt=f"{expected}, 世界").json()["text"] == search.text(said, [expected])
    # Of a long prompt the last 200 words are favoured.
    assert post(url, data, prompt=" ".join([expected] * 200)).json()["text"] == search.text(said, [expected] * 200)
    other = next(word for word in near if word != expected)
    many = " ".join([other, *[expected] * 200])
    assert post(url, data, prompt=many).json()["text"] == search.text(said, [expected] * 200)


def test_nothing_that_was_said_or_sent_is_logged(
    url: str, clips: list[Path], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        text = post(url, clips[0].read_bytes(), "secret-name.opus").json()["text"]
        post(url, b"secret-bytes" * 100, "secret-name.wav", prompt="secret-prompt")
        post(url, clips[0].read_bytes()[:2000], "secret-name.opus")
        httpx.get(f"{url}/secret-path?secret-query=1")
    captured = capfd.readouterr()
    said = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore")))
    for kept in (said, captured.out, captured.err):
        assert "secret" not in kept and text not in kept


def test_what_nobody_expected_is_a_500_without_its_message(
    phones: Transcriber, clips: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Transcriber(phones.model, precision="fp32")

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    with running({"base": lambda: broken}) as url:
        monkeypatch.setattr(broken, "read", fail)
        answer = post(url, clips[0].read_bytes())
        assert answer.status_code == 500 and problem(answer)["type"] == "server_error"
        assert "secret" not in answer.text + caplog.text and "RuntimeError" in caplog.text
        monkeypatch.undo()
        assert post(url, clips[0].read_bytes()).status_code == 200
        assert metric(url, "asr_requests_inside") == 0


def test_the_page_and_the_docs_take_nothing_from_elsewhere(url: str) -> None:
    for path in ("/", "/docs"):
        answer = httpx.get(url + path)
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "http://" not in answer.text and "https://" not in answer.text and "src=" not in answer.text
    assert "transcriptions" in httpx.get(f"{url}/docs").text
    assert "/v1/audio/transcriptions" in httpx.get(f"{url}/openapi.json").json()["paths"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_answers_what_is_in_and_leaves(long: bytes, workers: int) -> None:
    long = wav(np.tile(audio.load(long), 5))  # so long that it is seen inside while it is transcribed
    process, url = start("--model", f"base={bundled.folder('base')}", "--workers", workers)
    try:
        until(lambda: _status(f"{url}/ready") == 200, 120)
        undisturbed = post(url, long).json()["text"]
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(url, long)))
        asking.start()
        until(lambda: metric(url, "asr_requests_inside") == 1)
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert undisturbed and answers[0].json()["text"] == undisturbed
        assert process.wait(60) in {0, -signal.SIGTERM}
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        assert process.stderr and "Traceback" not in process.stderr.read()
    finally:
        process.kill()


def _status(address: str) -> int:
    try:
        return httpx.get(address, timeout=5).status_code
    except httpx.HTTPError:
        return 0


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "x" / "model"
    folder.mkdir(parents=True)
    for file in bundled.folder("base_small").iterdir():
        data = file.read_bytes()
        (folder / file.name).write_bytes(data[:1000] if file.suffix == ".safetensors" else data)
    process, _ = start("--model", folder)
    assert process.wait(120) == 2
    assert process.stderr and process.stderr.read().splitlines()[-1].startswith("error: ")


def test_the_engine_that_is_asked_for_runs_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr(Transcriber, "from_folder", lambda folder, **settings: seen.append((folder, settings)))
    monkeypatch.setattr("asr_adapt.serve.app.create_app", lambda loaders, **_: loaders)
    loaders: Any = server.Settings((("a", Path("x")), ("b", Path("y"))), device="cpu", engine="onnx")()
    for load in loaders.values():
        load()
    settings = {"device": "cpu", "engine": "onnx", "use_ngram": True}
    assert seen == [(Path("x"), settings), (Path("y"), settings)]
