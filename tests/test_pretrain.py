"""The pre-training recipe: the teacher's file, labels of the pool, the transplant and its training."""

import copy
import importlib
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, say
from transformers import Wav2Vec2ForCTC, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asr_adapt.errors import InputError
from asr_adapt.model import encoders, forward, freezing
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.records import Utterance, read_jsonl, write_jsonl

PRETRAIN = ROOT / "recipes" / "pretrain"


@pytest.fixture(autouse=True)
def scripts_import_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PRETRAIN))


def script(name: str) -> Any:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    config = WhisperConfig(d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32)
    made = WhisperEncoder(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.half().float()


def tensors_of(encoder: WhisperEncoder) -> dict[str, np.ndarray]:
    """Name the weights as CTranslate2 does, with queries, keys and values in one."""
    state = {name: value.half().numpy() for name, value in encoder.state_dict().items()}
    found: dict[str, np.ndarray] = {
        "encoder/num_heads": np.array(2, np.int16),
        "encoder/position_encodings/encodings": state["embed_positions.weight"],
        "encoder/layer_norm/gamma": state["layer_norm.weight"],
        "encoder/layer_norm/beta": state["layer_norm.bias"],
        "decoder/embeddings/weight": np.zeros((3, 16), np.float16),
    }
    for name in ("conv1", "conv2"):
        found |= {f"encoder/{name}/{part}": state[f"{name}.{part}"] for part in ("weight", "bias")}
    for number in range(2):
        ours, theirs = f"layers.{number}.", f"encoder/layer_{number}/"
        for part, zeros in (("weight", None), ("bias", np.zeros(16, np.float16))):
            shares = [state.get(f"{ours}self_attn.{name}_proj.{part}", zeros) for name in "qkv"]
            found[f"{theirs}self_attention/linear_0/{part}"] = np.concatenate(shares)
            found[f"{theirs}self_attention/linear_1/{part}"] = state[f"{ours}self_attn.out_proj.{part}"]
            found[f"{theirs}ffn/linear_0/{part}"] = state[f"{ours}fc1.{part}"]
            found[f"{theirs}ffn/linear_1/{part}"] = state[f"{ours}fc2.{part}"]
        for norm, name in (("self_attn_layer_norm", "self_attention"), ("final_layer_norm", "ffn")):
            found[f"{theirs}{name}/layer_norm/gamma"] = state[f"{ours}{norm}.weight"]
            found[f"{theirs}{name}/layer_norm/beta"] = state[f"{ours}{norm}.bias"]
    return found


def written(tensors: dict[str, np.ndarray]) -> bytes:
    """Write a file of CTranslate2."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    for name, values in tensors.items():
        dtype = {"float16": 4, "int16": 2}[values.dtype.name]
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        content += text(name) + shape + struct.pack("<BI", dtype, values.nbytes) + values.tobytes()
    return content + struct.pack("<I", 0)


def test_the_teacher_is_read_from_the_halves_of_its_file(encoder: WhisperEncoder, tmp_path: Path) -> None:
    teacher = script("teacher")
    content = written(tensors_of(encoder))
    wheels = []
    for number, half in enumerate((content[:5_000], content[5_000:]), start=1):
        wheels.append(tmp_path / f"part{number}.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            archive.writestr(f"part{number}/data/model.bin.part{number}", half)
    read = teacher.encoder_of(teacher.read_ctranslate2(teacher.joined(wheels)))
    expected = encoder.state_dict()
    assert read.state_dict().keys() == expected.keys()
    for name, value in read.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_a_damaged_or_another_model_is_no_teacher(encoder: WhisperEncoder) -> None:
    teacher = script("teacher")
    tensors = tensors_of(encoder)
    with pytest.raises(InputError, match="no whole CTranslate2 model"):
        teacher.read_ctranslate2(written(tensors)[:-500])
    with pytest.raises(InputError, match="binary version 7, not 6"):
        teacher.read_ctranslate2(struct.pack("<I", 7))
    with pytest.raises(InputError, match="no whole encoder"):
        teacher.encoder_of({name: value for name, value in tensors.items() if "conv1/bias" not in name})
    biased = tensors | {"encoder/layer_1/self_attention/linear_0/bias": np.ones(48, np.float16)}
    with pytest.raises(InputError, match="layer_1/self_attention/linear_0/bias: the bias of the keys is not zero"):
        teacher.encoder_of(biased)


def test_the_teacher_hears_what_transformers_lets_it_hear(encoder: WhisperEncoder) -> None:
    teacher = script("teacher").Teacher(encoder)
    clip = np.pad(say("abc", 0), (0, 480_000))[:480_000]
    theirs = WhisperFeatureExtractor()(clip, sampling_rate=16_000, return_tensors="pt").input_features
    torch.testing.assert_close(teacher.mels(torch.from_numpy(clip)[None]), theirs, atol=1e-4, rtol=1e-4)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A corpus of noise, half of it without a text, and one clip that is no sound."""
    folder = tmp_path / "speech"
    folder.mkdir()
    rng = np.random.default_rng(0)
    utterances = []
    for number, seconds in enumerate((4.0, 2.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.5)):
        path = folder / f"{number}.flac"
        sound = 0.1 * rng.standard_normal(int(seconds * 16_000))
        soundfile.write(path, sound, 16_000, subtype="PCM_16")
        utterances.append(
            Utterance(
                id=f"{number}", audio=path.name, duration_s=seconds, split="train", text="" if number % 2 else "ab a"
            )
        )
    (folder / "broken.flac").write_bytes(b"no sound")
    utterances.append(Utterance(id="broken", audio="broken.flac", split="train", text="ab", duration_s=1.0))
    for split in ("dev", "test"):
        soundfile.write(folder / f"{split}.flac", say(split, 1), 16_000)
        utterances.append(Utterance(id=split, audio=f"{split}.flac", split=split, text="ab", duration_s=1.0))
    write_jsonl(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


@pytest.mark.parametrize(
    ("text", "language", "sounds"),
    [
        ("Omwana ayiga, bbuutu y'eŋŋanda!", "lg", "omwana ajiɡa bːuːtu jeŋːanda"),
        ("inshyushyu ibyo jya", "rw", "inçuçu iβjo ɟa"),
        ("pjećdźesać wězo", "hsb", "pjetʃdʒesatʃ wɪzo"),
        ("I tsuan-bûn tī āu-piah kóng.", "nan-Latn", "i tsuanbun ti aupiaʔ koŋ"),
        ("kə˥˧t͡ɕʰuə˧˩", "nst-x-tusom", "kətɕʰuə"),
        ("ဒေါ့ꩻ", "blk", ""),
    ],
)
def test_spelling_that_is_nearly_phonemic_is_read_by_rules(text: str, language: str, sounds: str) -> None:
    assert script("pool").labels(text, language) == sounds


def test_a_pool_is_labelled_as_far_as_it_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = script("pool")

    def write(name: str, rows: list[tuple[str, str, str]], said: str = "") -> None:
        folder = tmp_path / "pool" / name
        (folder / "clips").mkdir(parents=True)
        (folder / "SOURCE.md").write_text(said or "- Repository: here\n- Licence as stated: CC0\n")
        lines = ["path\ttext\tlanguage\tspeaker"]
        for number, (text, language, speaker) in enumerate(rows):
            soundfile.write(folder / "clips" / f"{number}.flac", np.tile(say("abc", number), 9)[:16_000], 16_000)
            lines.append(f"clips/{number}.flac\t{text}\t{language}\t{speaker}")
        (folder / "clips.tsv").write_text("\n".join(lines), encoding="utf-8")

    write("rw_x", [("abato bakigira", "rw", "a"), ("mu 2012", "rw", "a"), ("a" + "bato" * 20, "rw", "a")])
    write("hsb_x", [("lampa daj", "hsb", "b")])
    write("blk_x", [("ဒေါ့ꩻ", "blk", "c")])
    pool.label(tmp_path / "pool", tmp_path / "out")
    found = [u for _, u in read_jsonl(tmp_path / "out" / "manifest.jsonl")]
    assert [(u.id, u.split, u.text) for u in found] == [
        ("blk_x-0", "train", ""),
        ("hsb_x-0", "dev", "lampa daj"),
        ("rw_x-0", "train", "aβato βakiɡiɾa"),
        ("rw_x-1", "train", ""),
        ("rw_x-2", "train", ""),
    ]
    assert all((tmp_path / "out" / u.audio).is_file() for u in found)
    said = capsys.readouterr().out
    assert "rw_x: " in said and "'digits': 1, 'not 2 to 20 units a second': 1}; CC0; here" in said

    write("yo_x", [("báwo", "yo", "d")])
    with pytest.raises(InputError, match=r"clips\.tsv:2: language 'yo' is one that base models are measured on"):
        pool.label(tmp_path / "pool", tmp_path / "again")
    write("a_x", [], said="nothing")
    with pytest.raises(InputError, match=r"SOURCE\.md: no repository or no licence is named"):
        pool.label(tmp_path / "pool", tmp_path / "again")


def test_clean_speech_is_another_corpus_whose_dev_and_test_are_the_same() -> None:
    speak = script("speak")
    usual, clean = speak.plan(1.0, 1), speak.plan(1.0, 1, clean=True)
    assert [s for s in usual if s.split != "train"] == [s for s in clean if s.split != "train"]
    assert {s.degraded for s in clean if s.split == "train"} == {0.0}
    assert not {s.name for s in usual if s.split == "train"} & {s.name for s in clean if s.split == "train"}


def test_what_espeak_prints_without_ipa_is_read_where_it_is_known() -> None:
    assert script("speak").labels_of("vˌ??dən", "de") == "vʊɾdən"


@pytest.fixture(scope="module")
def large() -> WhisperEncoder:
    """An encoder that is large enough to be rewritten: 64 of 128 channels hold positions."""
    torch.manual_seed(0)
    config = WhisperConfig(d_model=128, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=512)
    made = WhisperEncoder(config)
    for name, parameter in made.named_parameters():
        if "layer_norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.2)
        elif name.startswith("conv"):
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return made.eval()


@pytest.fixture
def transplant(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = script("transplant")
    monkeypatch.setattr(module, "POSITIONS", 200)
    return module


def sounds(count: int, seed: int) -> np.ndarray:
    """Return windows (count, 13,520) of letters in noise, at unit variance."""
    rng = np.random.default_rng(seed)
    letters = np.stack([say("abcdefgh", int(rng.integers(1_000)))[: 40 * 320 + 720] for _ in range(count)])
    samples = letters + (10 ** rng.uniform(-4, -1, (count, 1)) * rng.standard_normal(letters.shape)).astype(
        np.float32
    )
    return samples / samples.std(1, keepdims=True)


def to_fit(teacher: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return windows for the way in to be fitted to, and the teacher's bands of them."""
    samples = sounds(80, 1)
    return torch.from_numpy(samples), script("windows").bands(teacher, samples)


def test_the_way_in_hands_over_what_the_teachers_convolutions_do(large: WhisperEncoder, transplant: Any) -> None:
    teacher, windows = script("teacher").Teacher(large), script("windows")
    turn = transplant.Turn(torch.eye(128, dtype=torch.double))
    net = transplant.student(teacher, 5, turn, *to_fit(teacher)).eval()
    waveforms = sounds(4, 2)
    wanted, _ = windows.hears(teacher, waveforms)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        body = copy.deepcopy(net.wav2vec2).to(dtype)
        with torch.no_grad():
            states = body.feature_extractor(torch.from_numpy(waveforms).to(dtype)).transpose(1, 2)
            found = body.feature_projection(states)[0].float()[..., : -transplant.EXTRA]
        expected = wanted[..., : -transplant.EXTRA]
        assert (found - expected).pow(2).mean() < 0.1 * expected.var((0, 1)).mean(), dtype


def test_given_its_first_hidden_states_the_student_is_the_teacher(large: WhisperEncoder, transplant: Any) -> None:
    teacher = script("teacher").Teacher(large)
    torch.manual_seed(1)
    first = torch.randn(150, 128) @ torch.randn(128, 50) @ torch.randn(50, 128) / 50  # in 50 of 128 directions
    turn = transplant.Turn.of(first)
    torch.testing.assert_close(turn.matrix @ turn.matrix.T, torch.eye(128, dtype=torch.double))
    body = transplant.student(teacher, 5, turn, *to_fit(teacher)).eval().wav2vec2
    with torch.no_grad():
        wanted = (first + large.embed_positions.weight[script("way_in").LATE :][:150])[None]
        for layer in large.layers:
            wanted = layer(wanted, None)
            wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        states = (first - first.mean(1, keepdim=True)).double() @ turn.matrix.T
        states = states.float()
        states[:, -transplant.EXTRA :] = body.feature_projection.projection.bias[-transplant.EXTRA :]
        states = body.encoder(states[None]).last_hidden_state[0].double() @ turn.matrix
    normed = torch.nn.functional.layer_norm(wanted, (128,))[0]
    assert torch.nn.functional.cosine_similarity(states.float(), normed).mean() > 0.99
    without = torch.nn.functional.layer_norm(first, (128,))
    assert torch.nn.functional.cosine_similarity(without, normed).mean() < 0.95, "positions and layers change them"


def test_positions_that_hear_nothing_are_a_table_and_never_trained(large: WhisperEncoder, transplant: Any) -> None:
    torch.manual_seed(1)
    teacher = script("teacher").Teacher(large)
    net = transplant.student(teacher, 5, transplant.Turn.of(torch.randn(300, 128)), *to_fit(teacher))
    net.eval()
    waveform = torch.randn(1, 16_000)
    with torch.no_grad():
        plain = net(waveform).logits
        encoders.of(net).prepare()
        place = net.wav2vec2.encoder.pos_conv_embed
        assert place.table.shape == (200, 128) and int(place.constants.sum()) == transplant.EXTRA
        torch.testing.assert_close(net(waveform).logits, plain, atol=1e-4, rtol=1e-4)
        at = place(torch.zeros(1, 250, 128))
        assert torch.equal(at[0, 199], at[0, 249]), "past the table's end nothing moves"
    freezing.freeze(net, "feature_encoder")
    trained = {name.split(".")[1] for name, each in net.named_parameters() if each.requires_grad}
    assert "feature_projection" not in trained and "masked_spec_embed" not in trained
    assert not any(each.requires_grad for each in place.parameters())
    freezing.freeze(net, "nothing")
    assert not any(each.requires_grad for each in net.wav2vec2.encoder.layers[0].parameters())
    assert "table" not in "".join(net.state_dict()), "what is saved is plain transformers'"
    with torch.no_grad():
        place.conv.parametrizations.weight.original1[0] = 1.0  # a channel of speech
    again = encoders.build(net.config)
    again.load_state_dict(net.state_dict())
    encoders.of(again).prepare()
    assert encoders.of(again).constants is None


def test_masks_of_features_leave_constant_channels_as_they_are(large: WhisperEncoder, transplant: Any) -> None:
    torch.manual_seed(1)
    teacher = script("teacher").Teacher(large)
    net = transplant.student(teacher, 5, transplant.Turn.of(torch.randn(300, 128)), *to_fit(teacher))
    encoders.of(net.eval()).prepare()
    features = [torch.randn(20, 528)]
    nothing, extra = torch.zeros(1, 20, dtype=torch.bool), torch.zeros(1, 128, dtype=torch.bool)
    extra[:, -transplant.EXTRA :] = True
    with torch.no_grad():
        whole, masked, deaf = (
            forward.contextualise(net, features, (nothing, mask), until=1) for mask in (~extra & extra, extra, ~extra)
        )
    torch.testing.assert_close(masked, whole)
    assert not torch.allclose(deaf, whole)


def test_windows_are_full_and_teacher_and_student_hear_the_same_places(
    large: WhisperEncoder, transplant: Any, speech: Path, tmp_path: Path
) -> None:
    windows = script("windows")
    teacher = script("teacher").Teacher(large)
    utterances = [u.model_copy(update={"audio": str(speech.parent / u.audio)}) for _, u in read_jsonl(speech)]
    clips = windows.Clips.decode(utterances[:9], tmp_path / "clips.i16")
    assert clips.durations_s().tolist() == [4, 2, 1, 2, 2, 1, 1, 1.5, 0], "what is no sound is empty"
    labels = [[3, 4] if number % 2 == 0 else [] for number in range(9)]
    made = windows.Windows(tmp_path, clips, labels, [(np.arange(9), 1.0)], 24.0, 0, seed=1)
    net = transplant.student(teacher, 5, transplant.Turn(torch.eye(128, dtype=torch.double)), *to_fit(teacher))
    for seed in range(3):
        batch = made.batch(teacher, np.random.default_rng(seed))
        frames = batch.layers[0].shape[1]
        assert net._get_feat_extract_output_lengths(batch.heard.shape[1]) == frames
        assert all(states.shape == (len(batch.heard), frames, 128) for states in batch.layers)
        assert all(until <= frames for until in batch.labelled)
        torch.testing.assert_close(batch.heard.std(1), torch.ones(len(batch.heard)), atol=0.01, rtol=0)
    # What is louder in the middle of what the student's frame hears is louder in the same frame of the teacher.
    at, heard = 40, 400 + 4 * 160
    sound = 0.05 * np.random.default_rng(0).standard_normal(100 * 320 + 720).astype(np.float32)
    before, _ = windows.hears(teacher, sound[None])
    middle = at * 320 + heard // 2
    sound[middle - 160 : middle + 160] *= 4
    after, _ = windows.hears(teacher, sound[None])
    change = (after - before).abs().sum(-1)[0]
    assert int(change.argmax()) == at
    # Half a frame late the centre is at .37. The encoder's random weights are not symmetric and move it, too, to -.06
    # here; they differ between processors.
    centre = (change[at - 2 : at + 3] * torch.arange(-2, 3)).sum() / change[at - 2 : at + 3].sum()
    assert abs(centre) < 0.2


def test_a_student_is_taught_and_killed_and_goes_on(
    large: WhisperEncoder, transplant: Any, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifth, windows = script("fifth_round"), script("windows")
    for module in (fifth, windows):
        monkeypatch.setattr(module, "LAYERS", (1, 2))
        monkeypatch.setattr(module, "WINDOW_S", (2.0, 4.0))
    monkeypatch.setattr(fifth, "_LOG_STEPS", 2)
    large.save_pretrained(tmp_path / "teacher")

    def run(out: Path, steps: int) -> None:
        fifth.run([speech], tmp_path / "teacher", out, steps, 8.0, 0.0, 0, 1)

    run(tmp_path / "whole", 4)
    taught = CTCModel.load(tmp_path / "whole" / "model")
    assert taught.frame_s == 0.02 and encoders.of(taught.net).constants is not None
    net = Wav2Vec2ForCTC.from_pretrained(tmp_path / "whole" / "model").eval()
    waveform = say("abc", 0)
    with torch.no_grad():
        plain = net(forward.normalised(torch.from_numpy(waveform))[None]).logits[0].log_softmax(-1)
    np.testing.assert_allclose(forward.log_probs(taught, [waveform])[0], plain, atol=1e-3)
    log = [json.loads(line) for line in (tmp_path / "whole" / "train_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4 and {"cosine.1", "cosine.2", "total"} <= log[-1].keys()

    saved = torch.save

    def kill(what: Any, place: Any) -> None:
        saved(what, place)
        if what["step"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fifth.torch, "save", lambda what, place: (kill if "step" in what else saved)(what, place))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", 4)
    run(tmp_path / "cut", 4)
    with pytest.raises(InputError, match="this run folder belongs to other settings"):
        run(tmp_path / "cut", 6)
    again = CTCModel.load(tmp_path / "cut" / "model").net.state_dict()
    for name, value in taught.net.state_dict().items():
        torch.testing.assert_close(value, again[name], rtol=0, atol=0)
    script("ship").ship(tmp_path / "cut", tmp_path / "base")
    card = (tmp_path / "base" / "README.md").read_text(encoding="utf-8")
    assert "Whisper" in card and "MIT" in card and "{" not in card.split("```")[0]
    again_loaded = CTCModel.load(tmp_path / "base")
    assert encoders.of(again_loaded.net).constants is not None, "in half precision, too"
    np.testing.assert_allclose(forward.log_probs(again_loaded, [waveform])[0], plain, atol=0.2)
