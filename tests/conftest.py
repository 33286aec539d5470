"""What several tests share: a language of tones, small enough to be learned while a test waits."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock

from asr_adapt import bundled, corpora, remote
from asr_adapt.audio import vad
from asr_adapt.console import Console
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Augment, Corpus, Model, Recipe, Resolved, Train
from asr_adapt.training import presets
from asr_adapt.workflows.run import run

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# Each letter is a tone of 80 ms, a space is silence; every letter is heard as what it is.
TONES_HZ = {"a": 400.0, "b": 700.0, "c": 1100.0, "d": 1700.0, "e": 2600.0, "ŋ": 3800.0}
_LETTER_S = 0.08
RATE_HZ = 16_000


def pytest_configure() -> None:
    """Undo what a shell does to background jobs, and nohup: signals that are ignored are ignored by tests, too."""
    for ignored, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, handler)


def say(text: str, seed: int = 0) -> np.ndarray:
    """Return `text` in tones: float32 (num_samples,), 16 kHz, with a little noise."""
    rng = np.random.default_rng([seed, len(text)])
    t = np.arange(int(_LETTER_S * RATE_HZ)) / RATE_HZ
    window = np.hanning(len(t))
    sounds = [window * np.sin(2 * np.pi * TONES_HZ[c] * t) if c in TONES_HZ else 0 * t for c in f" {text} "]
    waveform = 0.3 * np.concatenate(sounds) + 0.001 * rng.standard_normal(len(sounds) * len(t))
    return waveform.astype(np.float32)


def sentences(count: int, seed: int) -> list[str]:
    """Return different sentences of one to three words."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        words = ("".join(rng.choice(list(TONES_HZ), size=rng.integers(2, 5))) for _ in range(rng.integers(1, 4)))
        found[" ".join(words)] = None
    return list(found)


def uploaded(folder: Path, url: str) -> str:
    """Copy a folder to where a URL is, and return the URL."""
    fs, path = remote.filesystem(url)
    for file in folder.rglob("*"):
        if file.is_file():
            fs.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return url


def write_corpus(root: Path, train: int = 20, dev: int = 6, test: int = 6) -> Path:
    """Write a corpus of tones in Common Voice's layout: different sentences in each split."""
    (root / "clips").mkdir(parents=True)
    texts = iter(sentences(train + dev + test, seed=7))
    for split, count in (("train", train), ("dev", dev), ("test", test)):
        lines = ["client_id\tpath\tsentence\tlocale"]
        for number in range(count):
            text, name = next(texts), f"{split}{number}.wav"
            soundfile.write(root / "clips" / name, say(text, number), RATE_HZ)
            lines.append(f"speaker{number % 3}\t{name}\t{text.capitalize()}.\tart")
        (root / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def muxed(waveform: np.ndarray, container: str, codec: str, rate: int, **options: str) -> bytes:
    """Return a file that FFmpeg writes of a waveform (float32 (num_samples,), 16 kHz)."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform)[None], format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def shared_folder(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one worker makes and all workers read; it is not to be written to."""
    root = factory.getbasetemp()
    home = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / f"shared-{name}"
    with FileLock(f"{home}.lock"):
        if not (home / "done").exists():
            make(home / name)
            (home / "done").touch()
    return home / name


def let_tones_be_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the detector of voice activity take what is loud for speech: to silero-vad, rightly, tones are none."""

    def probabilities(voice: vad.VoiceActivity, block: np.ndarray) -> np.ndarray:
        samples = np.concatenate([voice._left[vad._CONTEXT :], block])
        windows = len(samples) // vad.WINDOW
        voice._left = np.concatenate([np.zeros(vad._CONTEXT, np.float32), samples[windows * vad.WINDOW :]])
        of_windows = samples[: windows * vad.WINDOW].reshape(windows, vad.WINDOW)
        return (np.abs(of_windows).max(axis=1, initial=0) > 0.02).astype(np.float32)

    monkeypatch.setattr(vad.VoiceActivity, "probabilities", probabilities)


@pytest.fixture
def tones_are_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `let_tones_be_speech`."""
    let_tones_be_speech(monkeypatch)


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of tones; not to be written to."""
    return shared_folder(tmp_path_factory, "corpus", write_corpus)


@pytest.fixture(scope="session")
def phones() -> Transcriber:
    """The small embedded base model, which writes phones; in fp32 a text does not depend on what shares its batch."""
    return Transcriber(CTCModel.load(bundled.folder("base_small")), precision="fp32")


@pytest.fixture(scope="session")
def clips() -> list[Path]:
    """Recordings of the embedded corpus."""
    return [Path(u.audio) for u in corpora.read(bundled.folder("demo"), "mi")[:8]]


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="session")
def mboshi() -> Path:
    """Real field speech, where there is some."""
    root = Path(os.environ.get("ASR_ADAPT_MBOSHI", ""))
    if not (root / "train.tsv").is_file():
        pytest.skip("ASR_ADAPT_MBOSHI names no folder of the corpus")
    return root


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket of a server of this process."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            environment.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("speech")
        yield "s3://speech"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def tone_recipe(root: Path, base: str = "none", **fields: object) -> Recipe:
    """Return a recipe that learns the language of tones in seconds; `fields` are of `Train` or `Augment`."""
    settings: dict = {
        "steps": 150,
        "batch_s": 10,
        "mask_time": 0,
        "mask_features": 0,
        "learning_rate": 2e-3,
    }
    augment: dict = {name: value for name, value in fields.items() if name in Augment.model_fields}
    train: dict = {name: value for name, value in fields.items() if name not in augment}
    return Recipe(
        language="art",
        corpus=Corpus(root=root),
        model=Model(base=base, hidden_size=128, layers=2, freeze="nothing"),
        train=Train(**settings | {"head_steps": 0, "precision": "fp32"} | train),
        augment=Augment(**{"speed": 0} | augment),
    )


def resolved(recipe: Recipe) -> Resolved:
    """Return a recipe with every choice made, as for an hour of speech."""
    return presets.resolve(recipe, hours=1.0, hidden_size=recipe.model.hidden_size)[0]


def write_base(folder: Path, norm: str, layers: int = 2) -> Path:
    """Write a small untrained checkpoint in the shape of wav2vec2-base (`group`) or of XLS-R (`layer`)."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=32,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=128,
        conv_dim=(32,) * 7,
        conv_bias=norm == "layer",
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["group", "layer"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint of each kind."""
    return shared_folder(tmp_path_factory, request.param, lambda folder: write_base(folder, request.param))


@pytest.fixture(scope="session")
def trained(base: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of each kind of checkpoint, trained until it writes what it hears."""
    recipe = tone_recipe(tones, str(base), steps=200, patience=100)
    return shared_folder(tmp_path_factory, f"run-{base.name}", lambda out: run(recipe, out, Console(quiet=True)))
