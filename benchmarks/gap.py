"""Say a corpus's own sentences with eSpeak NG: how much of what a base model gets wrong is the sound of real people?

    python benchmarks/gap.py --corpus CORPUS --language mdw --voice sw --out runs/spoken
    asr-adapt transfer recipes/mboshi.py --corpus.root runs/spoken/manifest.jsonl --model.base embedded

The text is the corpus's, so that words, sentences and hours are the same; it is written without marks and with the
nearest letters that the voice reads (`--letters`). Every speaker is a variant of the voice, as in the corpus in all
splits. What adaptation gets wrong here is language and training; what it gets wrong beyond that on the recordings
themselves is that nobody speaks as a synthesiser does. Wants eSpeak NG (`apt-get install espeak-ng`).
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
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus, or a manifest.")],
    voice: Annotated[str, typer.Option(help="eSpeak NG's voice that reads it.")],
    out: Annotated[Path, typer.Option(help="The new corpus's folder.")],
    language: Annotated[str, typer.Option(help="Its BCP-47 tag.")] = "und",
    letters: Annotated[str, typer.Option(help="Letters that the voice does not read, each with another.")] = "εe ωo",
) -> None:
    """Speak every utterance of the corpus and write the manifest."""
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
