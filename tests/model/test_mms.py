"""MMS: a language starts from its own adapter and head, and from no other's in silence.

The checkpoint is small, and of the shape of facebook/mms-1b-all: English inside the weights, a file for each
language, a vocabulary nested by language.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RATE_HZ, say, tone_recipe, write_base
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForCTC, pipeline

from asr_adapt.cli import main
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.model import adapters, forward, head
from asr_adapt.model import base as bases
from asr_adapt.recipe import Model, Source, Text
from asr_adapt.text.alphabet import BLANK, DELIMITER, Alphabet
from asr_adapt.workflows.model_folder import evaluate_folder
from asr_adapt.workflows.run import run

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "|")
LETTERS = {
    "eng": "etaoinsh",
    "mri": "aeiouhkmnprtwgā",
    "swh": "aiutnkehb",
    "azj-script_cyrillic": "аиб",
    "azj-script_latin": "abcçe",
    "khm": "កខ",
}
_LINEAR = "wav2vec2.encoder.layers.{}.adapter_layer.linear_1.weight"


@pytest.fixture(scope="module")
def mms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mms")
    start = write_base(folder / "start", "layer")
    checkpoint = folder / "mms-1b-all"
    nested = {}
    for seed, (language, letters) in enumerate(LETTERS.items()):
        special = [token for token in SPECIAL if (language, token) != ("khm", "|")]
        nested[language] = {token: number for number, token in enumerate((*special, *letters))}
        torch.manual_seed(seed)
        net = Wav2Vec2ForCTC.from_pretrained(
            start, adapter_attn_dim=8, vocab_size=len(nested[language]), ignore_mismatched_sizes=True
        )
        torch.nn.init.normal_(net.lm_head.weight, std=0.5)
        if language == "eng":
            net.save_pretrained(checkpoint)
        adapters.save_mms(net, language, checkpoint)
    (checkpoint / "vocab.json").write_text(json.dumps(nested, ensure_ascii=False), encoding="utf-8")
    return checkpoint


def copied(mms: Path, to: Path) -> Path:
    to.mkdir()
    for path in mms.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def spec_of(folder: Path, **fields: object) -> Model:
    return Model(base=str(folder), **fields)


def asr_adapt(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["asr-adapt", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("language", "named", "tag"),
    [("mri", None, "mri"), ("mi", None, "mri"), ("mi-NZ", None, "mri"), ("sw", "swh", "swh"), ("mi", "eng", "eng")],
)
def test_a_language_starts_from_its_own_adapter_or_from_the_one_that_is_named(
    mms: Path, language: str, named: str | None, tag: str
) -> None:
    alphabet = Alphabet((BLANK, DELIMITER, "a", "à", "ŋ"))
    spec = spec_of(mms, adapter_language=named)
    made = head.create(spec, alphabet, language, Text(), seed=9)
    theirs = load_file(mms / f"adapter.{tag}.safetensors")
    others = load_file(mms / f"adapter.{'swh' if tag == 'eng' else 'eng'}.safetensors")
    weights = made.net.state_dict()
    for layer in (0, 1):
        assert torch.equal(weights[_LINEAR.format(layer)], theirs[_LINEAR.format(layer)])
        assert not torch.equal(weights[_LINEAR.format(layer)], others[_LINEAR.format(layer)])
    vocabulary = json.loads((mms / "vocab.json").read_text())[tag]
    expected = {0: 0, 1: vocabulary["|"], 2: vocabulary["a"], 3: vocabulary["a"]}
    assert head.inherited(spec, alphabet, language) == expected
    for label, theirs_at in expected.items():
        assert torch.equal(made.net.lm_head.weight[label], theirs["lm_head.weight"][theirs_at])


@pytest.mark.parametrize(
    ("language", "named", "said"),
    [
        ("sw", None, r"no adapter for the language 'sw'\. Near it are swh"),
        ("az", None, r"the language 'az'\. Near it are azj-script_cyrillic, azj-script_latin"),
        ("mi", "mir", r"the language 'mir'\. Near it are .*mri"),
        ("mdw", None, r"the language 'mdw'\. (Near it are|It has 6 others).*none to start without"),
        ("aze", "azj", r"the language 'azj'\. Near it are azj-script_cyrillic, azj-script_latin"),
    ],
)
def test_a_language_that_is_not_there_is_named_with_those_near_it(
    mms: Path, tones: Path, tmp_path: Path, language: str, named: str | None, said: str
) -> None:
    recipe = tone_recipe(tones, str(mms), steps=2).model_copy(
        update={"language": language, "model": spec_of(mms, adapter_language=named)}
    )
    with pytest.raises(InputError, match=r"^model\.adapter_language: .*" + said):
        run(recipe, tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists(), "said before anything is prepared"
    with pytest.raises(InputError, match=said):
        head.create(recipe.model, Alphabet((BLANK, DELIMITER, "a")), language, Text(), seed=0)


def test_begun_without_an_adapter_nothing_of_english_is_left(mms: Path) -> None:
    alphabet = Alphabet((BLANK, DELIMITER, "e"))
    made = head.create(spec_of(mms, adapter_language="none"), alphabet, "mdw", Text(), seed=0)
    english = load_file(mms / "adapter.eng.safetensors")
    weights = made.net.state_dict()
    assert not any(torch.equal(weights[name], english[name]) for name in english if name.endswith("linear_1.weight"))
    assert not weights["wav2vec2.encoder.layers.0.adapter_layer.linear_2.weight"].any()
    plain = head.create(spec_of(mms.parent / "start"), alphabet, "mdw", Text(), seed=0)
    features = [torch.randn(20, 32, generator=torch.Generator().manual_seed(0))]
    with torch.inference_mode():
        left, right = (forward.contextualise(m.net.eval(), features) for m in (made, plain))
    torch.testing.assert_close(left, right)


def test_a_model_without_adapters_by_language_is_given_none(mms: Path) -> None:
    with pytest.raises(InputError, match="has no adapters by language"):
        bases.adapter(spec_of(mms.parent / "start", adapter_language="mri"), "mi")
    assert bases.adapter(spec_of(mms.parent / "start"), "mi") is None
    with pytest.raises(InputError, match=r"model\.base: .*has no adapters by language"):
        head.zero_shot(spec_of(mms.parent / "start"), "mi")


def test_adapters_that_do_not_say_whose_they_are_are_refused(mms: Path, tmp_path: Path) -> None:
    folder = copied(mms, tmp_path / "m")
    (folder / "vocab.json").unlink()
    with pytest.raises(InputError, match=r"vocab\.json: .*does not say of which language"):
        bases.adapter(spec_of(folder), "mi")
    assert bases.adapter(spec_of(folder, adapter_language="none"), "mi") is None


def test_an_adapter_that_is_missing_damaged_or_anothers_is_refused(mms: Path, tmp_path: Path) -> None:
    def made(folder: Path) -> None:
        head.create(spec_of(folder), Alphabet((BLANK, DELIMITER, "a")), "mi", Text(), seed=0)

    folder = copied(mms, tmp_path / "m")
    own = folder / "adapter.mri.safetensors"
    own.write_bytes((folder / "adapter.swh.safetensors").read_bytes())
    with pytest.raises(
        InputError, match=r"adapter\.mri.*: the head writes 14 labels, the vocabulary of 'mri' has 20"
    ):
        made(folder)
    own.write_bytes(own.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"adapter\.mri\.safetensors: the adapter of 'mri' cannot be loaded"):
        made(folder)
    tensors = load_file(mms / "adapter.mri.safetensors")
    tensors.pop(_LINEAR.format(0))
    save_file(tensors, own)
    with pytest.raises(InputError, match=r"cannot be loaded .*missing keys"):
        made(folder)
    own.unlink()
    with pytest.raises(InputError, match=r"the adapter of 'mri' cannot be loaded .*adapter\.mri\.safetensors"):
        made(folder)


@pytest.mark.parametrize(("language", "tag"), [("mi", "mri"), ("km", "khm")])
def test_zero_shot_hears_what_transformers_hears_with_that_adapter(
    mms: Path, tmp_path: Path, language: str, tag: str
) -> None:
    theirs = Wav2Vec2ForCTC.from_pretrained(mms, target_lang=tag, ignore_mismatched_sizes=True).eval()
    ours = head.zero_shot(spec_of(mms), language)
    vocabulary = json.loads((mms / "vocab.json").read_text())[tag]
    assert ours.alphabet.units == (BLANK, DELIMITER, *LETTERS[tag])
    clip = say("abc de")
    with torch.inference_mode():
        logits = theirs(forward.normalised(torch.from_numpy(clip))[None]).logits[0]
    kept = [unit for unit in ours.alphabet.units if unit in vocabulary]
    expected = torch.log_softmax(logits[:, [vocabulary[unit] for unit in kept]], dim=-1).numpy()
    found = forward.log_probs(ours, [clip])[0]
    columns = [ours.alphabet.units.index(unit) for unit in kept]
    np.testing.assert_allclose(found[:, columns], expected, atol=1e-4)
    assert len(kept) == len(ours.alphabet) - (tag == "khm"), "Khmer's vocabulary here has no word delimiter"
    assert (np.delete(found, columns, axis=1) < -1_000).all()


@pytest.mark.usefixtures("tones_are_speech")
def test_a_zero_shot_folder_is_a_model_like_any_other(
    mms: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "models" / "mms-mi"
    command = ("mms", "mi", "--base", mms, "--out", folder)
    assert asr_adapt(monkeypatch, *command) == 0
    clip = say("abc de")
    ours = Transcriber.from_folder(folder).transcribe((clip, RATE_HZ)).text
    recognise = pipeline("automatic-speech-recognition", str(folder))
    assert ours == recognise({"raw": clip, "sampling_rate": RATE_HZ})["text"]
    assert set(ours) <= {*LETTERS["mri"], " "} and ours
    assert evaluate_folder(folder, Source(root=tones), "test", tmp_path / "e", Console(quiet=True)).utterances == 6
    assert asr_adapt(monkeypatch, *command) == 2
    assert "mms-mi: already exists." in capsys.readouterr().err
    assert asr_adapt(monkeypatch, "mms", "mdw", "--base", mms, "--out", tmp_path / "x") == 2
    assert "no adapter for the language 'mdw'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_trains_on_from_the_languages_adapter_and_keeps_it_under_its_name(
    mms: Path, tones: Path, tmp_path: Path
) -> None:
    recipe = tone_recipe(tones, str(mms), steps=2).model_copy(
        update={"language": "mi", "model": spec_of(mms, adapter="mms")}
    )
    run(recipe, tmp_path / "run", Console(quiet=True))
    start = load_file(mms / "adapter.mri.safetensors")[_LINEAR.format(0)]
    kept = load_file(tmp_path / "run" / "adapter" / "adapter.mi.safetensors")[_LINEAR.format(0)]
    assert not torch.equal(kept, start) and torch.allclose(kept, start, atol=0.05)
    before = load_file(mms / "model.safetensors")["wav2vec2.encoder.layers.0.attention.q_proj.weight"]
    whole = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert torch.equal(whole["wav2vec2.encoder.layers.0.attention.q_proj.weight"], before)
    assert Transcriber.from_folder(tmp_path / "run" / "model").model.language == "mi"
