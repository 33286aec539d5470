"""Synthesise a corpus's own sentences with eSpeak NG, to separate acoustic errors from language errors.

    python benchmarks/gap.py --corpus CORPUS --language mdw --voice sw --out runs/spoken
    asr-adapt transfer recipes/mboshi.py --corpus.root runs/spoken/manifest.jsonl --model.base embedded

Words, sentences and hours are those of the corpus, without combining marks and with letters that the voice cannot
read replaced (`--letters`). Each speaker becomes a variant of the voice, in all splits, as in the corpus. The error
rate on this speech is due to language and training; the difference from the error rate on the real recordings is due
to the acoustics of real speakers. Needs eSpeak NG (`apt-get install espeak-ng`).
"""

import subprocess
import unicodedata
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from asr_adapt import corpora
from asr_adapt.records import write_jsonl

VARIANTS = ("m3", "f2", "m7", "f4", "m1", "f5")


def main(
    corpus: Annotated[Path, typer.Option(help="Corpus folder or manifest.")],
    voice: Annotated[str, typer.Option(help="eSpeak NG voice.")],
    out: Annotated[Path, typer.Option(help="Folder of the new corpus.")],
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language.")] = "und",
    letters: Annotated[
        str, typer.Option(help="Letters that the voice cannot read, each followed by its replacement.")
    ] = "εe ωo",
) -> None:
    """Synthesise every utterance of the corpus and write the manifest."""
    utterances = [u for u in corpora.read(corpus, language) if u.text]
    speakers = sorted({u.speaker or "" for u in utterances})
    table = str.maketrans({pair[0]: pair[1:] for pair in letters.split()})
    (out / "clips").mkdir(parents=True, exist_ok=True)
    spoken = []
    for number, utterance in enumerate(tqdm(utterances, unit="clip")):
        text = "".join(c for c in unicodedata.normalize("NFD", utterance.text or "") if not unicodedata.combining(c))
        text = text.translate(table)
        variant = VARIANTS[speakers.index(utterance.speaker or "") % len(VARIANTS)]
        audio = out / "clips" / f"{number}.wav"
        subprocess.run(["espeak-ng", "-v", f"{voice}+{variant}", "-w", str(audio), text], check=True)
        spoken.append(utterance.model_copy(update={"text": text, "audio": f"clips/{number}.wav", "duration_s": None}))
    write_jsonl(out / "manifest.jsonl", spoken)


if __name__ == "__main__":
    typer.run(main)
