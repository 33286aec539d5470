"""The embedded base models: files, cards and recipes agree, and they are loaded as any other is."""

import importlib.util
import json
import math
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, say
from safetensors.torch import load_file

from asr_adapt import bundled
from asr_adapt.console import Console
from asr_adapt.errors import InputError
from asr_adapt.model import base, forward, head
from asr_adapt.model.ctc_model import CTCModel
from asr_adapt.recipe import Corpus, Model, Recipe, Text
from asr_adapt.text.alphabet import Alphabet
from asr_adapt.workflows.run import run

FOLDERS = {name: bundled.folder(folder) for name, folder in bundled.BASES.items()}
MEGABYTES = {"embedded": 54, "embedded-small": 15}
FRAME_S = {"embedded": 0.02, "embedded-small": 0.04}
PRETRAIN = ROOT / "recipes" / "pretrain"
CARDS = {name: (folder / "README.md").read_text(encoding="utf-8") for name, folder in FOLDERS.items()}
SMALL = FOLDERS["embedded-small"]
each_base = pytest.mark.parametrize("name", FOLDERS)


def script(name: str) -> object:
    """Run a script of the recipe, which imports its siblings."""
    spec = importlib.util.spec_from_file_location(f"pretrain_{name}", PRETRAIN / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(PRETRAIN))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PRETRAIN))
    return module


def shapes(folder: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    tensors = load_file(folder / "model.safetensors")
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


@each_base
def test_it_is_small_and_in_half_precision(name: str) -> None:
    assert (FOLDERS[name] / "model.safetensors").stat().st_size <= 1e6 * MEGABYTES[name]
    assert {dtype for _, dtype in shapes(FOLDERS[name]).values()} == {torch.float16}


@each_base
def test_plain_transformers_loads_it(name: str) -> None:
    from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

    net = Wav2Vec2ForCTC.from_pretrained(FOLDERS[name], dtype=torch.float32).eval()
    processor = Wav2Vec2Processor.from_pretrained(FOLDERS[name])
    waveform = say("abc", 0)
    inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        theirs = net(inputs.input_values).logits[0].log_softmax(-1).numpy()
    (ours,) = forward.log_probs(CTCModel.load(FOLDERS[name]), [waveform])
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@each_base
def test_a_recipe_starts_from_it_by_name(name: str) -> None:
    spec = Model(base=name)
    alphabet = Alphabet.from_texts(["kei te pēhea koe"])
    adapted = head.create(spec, alphabet, "mi", Text(), seed=1)
    assert adapted.net.lm_head.out_features == len(alphabet)
    kept = head.inherited(spec, alphabet, "mi")
    assert len(kept) == len(alphabet), "each of these letters is a phone's, or has a mark"
    assert base.configuration(spec).hidden_size == adapted.net.config.hidden_size
    assert adapted.frame_s == FRAME_S[name]


@each_base
def test_the_card_says_what_the_file_is(name: str) -> None:
    config, card, folder = base.configuration(Model(base=name)), CARDS[name].replace("\n", " "), FOLDERS[name]
    parameters = sum(math.prod(shape) for shape, _ in shapes(folder).values())
    assert f"{parameters / 1e6:.1f} million parameters" in card
    assert f"{config.num_hidden_layers} layers of {config.hidden_size}" in card
    assert f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB" in card
    assert f"in {len(CTCModel.load(folder).alphabet) - 1} units" in card
    for said in ("Māori", "Hawaiian", "Mboshi"):
        assert said in card


def test_the_card_of_the_transplant_says_whose_weights_it_began_with_and_how_long_it_was_trained() -> None:
    fifth: Any = script("fifth_round")
    card = CARDS["embedded"]
    assert f"--steps {fifth.STEPS}\n" in CARDS["embedded"]
    assert f"{fifth.STEPS:,} steps of {fifth.BATCH_S:g} s" in card and "Copyright (c) 2022 OpenAI" in card


def test_the_card_says_what_the_recipe_says() -> None:
    card = CARDS["embedded-small"]
    first, second, third, fourth = (
        script(name).RECIPE.train  # type: ignore[attr-defined]
        for name in ("base", "second_round", "third_round", "fourth_round")
    )
    assert f"{first.steps:,} and then {second.steps:,} steps of {second.batch_s:g} s" in card
    for later in (third, fourth):
        assert f"{later.steps:,} steps of {later.batch_s:g} s" in card
    synthesised, recorded = (float(hours) for hours in re.findall(r"\*\* ([\d.]+) hours, ", card))
    assert synthesised > 10 and recorded > 10, "tens of hours"


def test_recordings_are_found_with_what_is_said_in_them(tmp_path: Path) -> None:
    recordings: Any = script("recordings")

    def write(path: str, text: str = "") -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")

    fish, apple, voice = "games/fillets-ng", "tuxpaint/stamps/food/apple", "asterisk/sounds/it_IT_m_Carlo"
    write(f"{fish}/script/city/dialogs_nl.lua", 'dialogId("let-m-a", "small", "Go!")\ndialogStr("Zeg \\"ga\\"!")\n')
    write(f"{fish}/script/city/dialogs_en.lua", 'dialogId("let-m-a", "small", "Go!")\n')
    for language in ("nl", "en"):
        write(f"{fish}/sound/city/{language}/let-m-a.ogg")
    write(f"{apple}.txt", "An apple.\nfr.utf8=Une pomme.\n")
    for of_language in ("", "_fr", "_pl"):
        write(f"{apple}_desc{of_language}.ogg")
    for name in ("17", "at"):
        write(f"{voice}/digits/{name}.wav")

    russian = "festival/voices/russian/msu_ru_nsh_clunits"
    write(f"{russian}/etc/txt.done.data", '( ru_0001 "За +ухо." )\n')

    (fish_sound,) = recordings.find(["fillets", "fillets"], tmp_path)
    assert fish_sound.sound == tmp_path / fish / "sound/city/nl/let-m-a.ogg"
    with pytest.raises(
        InputError, match=r"^--source: no source 'cats'\. Known are fillets, queen, stamps, russian, "
    ):
        recordings.find(["fillets", "cats"], tmp_path)
    with pytest.raises(InputError, match=r"no recordings of queen\. Install the Debian packages "):
        recordings.find(["fillets", "queen"], tmp_path)

    found = recordings.find(["fillets", "stamps", "russian", "numbers"], tmp_path)
    assert [(one.text, one.language, one.speaker, one.split) for one in found] == [
        ('Zeg "ga"!', "nl", "fillets-nl-m", "train"),
        ("An apple.", "en", "stamps-en", "train"),
        ("Une pomme.", "fr", "stamps-fr", "train"),
        ("За ухо.", "ru", "russian-nsh", "train"),
        ("17", "it", "numbers-it_IT_m_Carlo", "dev"),
    ]


def test_an_archives_dialogue_is_found_segment_by_segment(tmp_path: Path) -> None:
    recordings: Any = script("recordings")

    def said(number: int, text: bytes) -> bytes:
        speech = struct.pack(">2xHB", number, len(text)) + text
        # A text ends at a multiple of four, no text at one of two.
        return speech + bytes(-len(speech) % (4 if text else 2))

    pilots = said(0, b"") + said(6, b"*FRHello?*15")
    persons = said(0x1C, b"Yes,*01*XY00(237,112)I am.*02")
    tree = 32 + 96  # a header and one level
    header = struct.pack(">5h12x3H4x", 1, 0, 7, 2, 1, tree + len(pilots), 0, 0)
    members = {
        "07001CP1.SB": b"yes",
        "07001CP3.SB": b"i am",
        "070006J2.SB": b"hello",
        "JOE00421.SB": b"cute",
        "QUEEN2.JAS": b"Neat*02\r\nCute*02\r\n",
        "BOB.DOG": bytes(20) + header.ljust(tree, b"\0") + pilots + persons,
    }
    offset, table, sounds = 15 + 21 * len(members), b"", b""
    for name, content in members.items():
        table += struct.pack(">12sBII", name.encode(), 1, offset + len(sounds), len(content))
        sounds += content
    path = tmp_path / "scummvm/flight-of-the-amazon-queen/queen.1c"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"QTBLCEM10\0\0\0\1" + struct.pack(">H", len(members)) + table + sounds)

    assert [(one.sound, one.text, one.speaker) for one in recordings.queen(tmp_path)] == [
        (b"cute", "Cute", "queen-en-joe"),
        (b"hello", "Hello?", "queen-en-joe"),
        (b"yes", "Yes,", "queen-en-07"),
        (b"i am", "I am.", "queen-en-07"),
    ]


@pytest.mark.slow
def test_the_recipe_run_for_a_short_time_gives_a_checkpoint_of_the_same_shape_that_loads_the_same_way(
    tones: Path, tmp_path: Path, console: Console
) -> None:
    whole: Recipe = script("base").RECIPE  # type: ignore[attr-defined]
    units = CTCModel.load(SMALL).alphabet.units[2:]
    short = whole.model_copy(
        update={
            "corpus": Corpus(root=tones),
            # The corpus of tones has capitals, stops and `ŋ`; the units of the whole corpus make the head's shape.
            "text": whole.text.model_copy(update={"alphabet": units, "lower": True}),
            "train": whole.train.model_copy(update={"steps": 2, "batch_s": 5, "eval_steps": 2, "precision": "fp32"}),
        }
    )
    run(short, tmp_path / "run", console)
    script("ship").ship(tmp_path / "run", tmp_path / "base")  # type: ignore[attr-defined]
    assert shapes(tmp_path / "base") == shapes(SMALL)
    theirs, ours = (json.loads((folder / "config.json").read_text()) for folder in (SMALL, tmp_path / "base"))
    assert theirs == ours
    assert sorted(p.name for p in SMALL.iterdir()) == sorted(p.name for p in (tmp_path / "base").iterdir())
    assert CTCModel.load(tmp_path / "base").alphabet == CTCModel.load(SMALL).alphabet
    again = Model(base=str(tmp_path / "base"))
    assert head.create(again, Alphabet.from_texts(["kei"]), "mi", Text(), seed=1).frame_s == 0.04
