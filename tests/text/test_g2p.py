"""Tables of letters from programs that transcribe words, aligned letter by letter."""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from asr_adapt.errors import InputError
from asr_adapt.text import g2p

READ = {
    "l": "l",
    "ll": "ʎ",
    "ch": "tʃ",
    "x": "ks",
    "h": "",
    "a": "a",
    "i": "i",
    "u": "u",
    "k": "k",
    "n": "n",
    "s": "s",
}
WORDS = ["lla", "llaki", "killa", "lluk", "ala", "luna", "hali", "ali", "axu", "saxa", "ahu", "chaki", "uchu",
         "nachi", "kan", "kallu", "sinchi", "nina", "sisa", "llaksa", "alax", "hini", "lulu", "lasa"]  # fmt: skip


def said(word: str) -> list[str]:
    phones, at = "", 0
    while at < len(word):
        size = 2 if word[at : at + 2] in READ else 1
        phones, at = phones + READ[word[at : at + size]], at + size
    return list(phones)


def test_letters_and_digraphs_are_found_by_alignment() -> None:
    table = g2p.aligned([(list(word), tuple(said(word))) for word in WORDS])
    assert {unit: table[unit] for unit in ("a", "i", "k", "l", "ll", "n", "x")} == {
        "a": "a", "i": "i", "k": "k", "l": "l", "ll": "ʎ", "n": "n", "x": "ks",
    }  # fmt: skip
    assert "la" not in table, "the l of lla belongs to ll"
    assert table["c"] + table["h"] == "tʃ", "two letters for two phones need no digraph"


def test_uroman_romanises_each_letter_and_the_romanisation_is_read_as_latin_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latin = {"ш": "sh", "а": "a", "ы": "y"}

    class Uroman:
        def romanize_string(self, letter: str, lcode: str) -> str:
            assert lcode == "bak"
            return latin[letter]

    monkeypatch.setattr(g2p, "_module", lambda *_: SimpleNamespace(Uroman=Uroman))
    assert g2p.transcribed("uroman", Counter(["ша", "ы"]), "ba") == {"а": "a", "ш": "ʃ", "ы": "j"}


def test_epitran_is_asked_by_language_and_script_and_names_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maps = tmp_path / "data" / "map"
    maps.mkdir(parents=True)
    (maps / "swa-Arab.csv").touch()

    def epitran(code: str) -> SimpleNamespace:
        if code != "swa-Latn":
            raise KeyError(code)
        return SimpleNamespace(transliterate=lambda word: "".join(said(word)))

    module = SimpleNamespace(Epitran=epitran, __file__=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(g2p, "_module", lambda *_: module)
    assert g2p.transcribed("epitran", Counter(WORDS), "sw")["ll"] == "ʎ"
    assert g2p.transcribed("epitran:swa-Latn", Counter(WORDS), "und")["k"] == "k"
    with pytest.raises(InputError, match=r"swa-Deva.*swa-Arab"):
        g2p.transcribed("epitran:swa-Deva", Counter(WORDS), "sw")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the program")
def test_espeak_reads_a_word_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(
        "#!/bin/sh\n[ $2 = qu ] || exit 1\nsed -e 's/\\.$//' -e 's/./&_/g' -e 's/_$//' -e 's/a/ˈa/g'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert g2p.transcribed("espeak", Counter(["kata", "tak"]), "qu") == {"a": "a", "k": "k", "t": "t"}
    with pytest.raises(InputError, match="no voice 'xx'"):
        g2p.transcribed("espeak:xx", Counter(["kata"]), "qu")


def test_what_is_not_installed_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="eSpeak NG is not installed"):
        g2p.transcribed("espeak", Counter(["a"]), "qu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("epitran", "uroman"):
        with pytest.raises(InputError, match=rf"{name} is not installed.*asr-adapt\[{name}\]"):
            g2p.transcribed(name, Counter(["a"]), "qu")
