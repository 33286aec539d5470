"""new: look at a corpus, and write a recipe script for it."""

import math
import random
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_adapt import audio, corpora, languages, recipe_script
from asr_adapt.console import Console
from asr_adapt.errors import AudioError, InputError, printable
from asr_adapt.recipe import Augment, Recipe, Report, Text
from asr_adapt.records import SPLITS, Utterance, describe_duration
from asr_adapt.storage import disk_full_as_error, write_text
from asr_adapt.text import markup
from asr_adapt.text.markup import Markup
from asr_adapt.text.normaliser import Normaliser
from asr_adapt.text.orthography import Orthography, described

_XLSR, _MMS = "facebook/wav2vec2-xls-r-300m", "facebook/mms-300m"
_STUDY = "Liang and Levow 2025, arXiv:2506.17459"
_MEASURED = 300  # clips whose length is looked up; more than these are estimated from them


@dataclass(frozen=True)
class Speech:
    """How much is spoken."""

    hours: dict[str, float]
    """split → hours; all of it under `train` where there are no splits"""
    estimated: bool
    """whether the length of some clips was estimated from that of others"""
    speakers: dict[str, int]
    unreadable: int
    """of the clips that were looked at"""
    looked_at: int
    untranscribed: int
    unclear: int
    """utterances with marks of speech that nobody understood, which are not among the others"""


@dataclass(frozen=True)
class Proposal:
    """What a corpus shows, and a recipe for it that lacks its base model only."""

    recipe: Recipe
    reading: corpora.Reading
    speech: Speech
    writing: Orthography
    markup: Markup


def new(recipe: Recipe, base: str | None, out: Path, console: Console) -> None:
    """Write the recipe script `out` for the corpus that `recipe` names.

    Args:
        recipe: Language, corpus, and whatever else is set already; all of it is kept.
        base: Base model; None: MMS for less than an hour of transcribed speech in train, else XLS-R.
        out: Where the script goes.
        console: Where to report.

    Raises:
        InputError: `out` exists, the corpus cannot be read, or nothing is transcribed.
    """
    proposal = propose(recipe, out, console)
    chosen, why = (base, "asked for with --base") if base else _base(proposal.speech)
    write(proposal, chosen, why, out, console)
    if base is None:
        console.say(f"to compare base models first: asr-adapt rank {out} --base {_MMS} --base {_XLSR}")


def propose(recipe: Recipe, out: Path, console: Console) -> Proposal:
    """Look at the corpus that `recipe` names; arguments and errors as of `new`."""
    if out.exists():
        raise InputError("already exists, and is not written over", place=out, remedy="Give another --out.")
    reading = corpora.read_all(corpora.sources(recipe), recipe.language, allow_unsplit=True)
    for note in reading.notes:
        console.say(note)
    for part in reading.left_out:
        console.warn(part.describe())
    proposed = markup.find([u.text or "" for u in reading.utterances], recipe.text, recipe.language)
    recipe = recipe.model_copy(update={"text": proposed.applied(recipe.text)})
    normalise = Normaliser(recipe.text, recipe.language)
    clear = [u for u in reading.utterances if normalise.unclear(u.text or "") is None]
    texts = [proposed.cleaned(u.text, normalise) for u in clear if u.text and normalise(u.text)]
    if not texts:
        raise InputError("no utterance has a transcript", place=recipe.corpus.root)
    try:
        writing = described(texts, normalise)
    except ValueError as error:
        raise InputError("the transcripts hold no letter", place=recipe.corpus.root) from error
    text = recipe.text.model_copy(update={"units": "code_points"} if writing.wants_code_points else {})
    speech = _speech(clear, normalise, unclear=len(reading.utterances) - len(clear))
    return Proposal(recipe.model_copy(update={"text": text}), reading, speech, writing, proposed)


def write(proposal: Proposal, base: str, why: str, out: Path, console: Console) -> None:
    """Write the recipe script.

    Args:
        proposal: Of `propose`.
        base: Base model.
        why: The reason for it, which the script gives.
        out: Where the script goes.
        console: Where to report.

    Raises:
        InputError: it cannot be written.
    """
    recipe = proposal.recipe
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"base": base})})
    script = _script(recipe, proposal, why)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with disk_full_as_error(out, "Make room, then start the same command."):
            write_text(out, script)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", place=out, remedy="Give another --out.") from error
    for kind in proposal.markup.found:
        console.say(f"Markup, {kind.kind.replace('_', ' ')}: {kind.examples()}")
    if proposal.markup.fields():
        console.say(f"Settings for it: {proposal.markup.fields()}")
    for sentence in (_spoken(proposal.speech), *proposal.writing.sentences(), f"Base: {base} ({why})"):
        console.say(sentence)
    if proposal.reading.unsplit is not None:
        console.warn(f"no splits can be made, and without them nothing can be trained: {proposal.reading.unsplit}")
    console.say(f"\nrecipe: {out}")
    console.say(f"next: look at it, then asr-adapt run {out}")


def _speech(utterances: Sequence[Utterance], normalise: Normaliser, unclear: int) -> Speech:
    lengths = {u.id: known for u in utterances if (known := _known_s(u)) is not None}
    unknown = [u for u in utterances if u.id not in lengths]
    looked_at = random.Random(0).sample(unknown, min(_MEASURED, len(unknown)))
    unreadable = 0
    for utterance in looked_at:
        try:
            lengths[utterance.id] = audio.duration_s(utterance.audio) - (utterance.start_s or 0.0)
        except AudioError:
            lengths[utterance.id] = 0.0
            unreadable += 1
    typical = math.fsum(lengths[u.id] for u in looked_at) / len(looked_at) if looked_at else 0.0
    hours: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        if normalise(utterance.text or ""):
            hours[utterance.split or "train"] += lengths.get(utterance.id, typical) / 3600
    return Speech(
        hours=dict(hours),
        estimated=len(unknown) > len(looked_at),
        speakers={s: len({u.speaker for u in utterances if (u.split or "train") == s} - {None}) for s in SPLITS},
        unreadable=unreadable,
        looked_at=len(looked_at),
        untranscribed=sum(not normalise(u.text or "") for u in utterances),
        unclear=unclear,
    )


def _known_s(utterance: Utterance) -> float | None:
    if utterance.duration_s is not None:
        return utterance.duration_s
    return None if utterance.end_s is None else utterance.end_s - (utterance.start_s or 0.0)


def _base(speech: Speech) -> tuple[str, str]:
    """Return the base model by the hours of transcribed speech in train, and the reason."""
    hours = speech.hours.get("train", 0.0)
    if hours < 1:
        return _MMS, f"{describe_duration(hours * 3600)} of labels: MMS is ahead of XLS-R under an hour ({_STUDY})"
    return _XLSR, f"{describe_duration(hours * 3600)} of labels: XLS-R is level with MMS from an hour on ({_STUDY})"


def _spoken(speech: Speech) -> str:
    """Return hours and speakers of each split in a sentence."""
    parts = [
        f"{split} {describe_duration(speech.hours[split] * 3600)}"
        + (f", {n} speakers" if (n := speech.speakers[split]) else "")
        for split in SPLITS
        if split in speech.hours
    ]
    summary = ("about " if speech.estimated else "") + "; ".join(parts)
    if speech.untranscribed:
        summary += f"; {speech.untranscribed:,} utterances have no transcript"
    if speech.unclear:
        summary += f"; {speech.unclear:,} utterances are marked as unclear"
    if speech.unreadable:
        summary += f"; of {speech.looked_at:,} clips that were looked at {speech.unreadable:,} cannot be read"
    return summary


def _script(recipe: Recipe, proposal: Proposal, why: str) -> str:
    reading, proposed = proposal.reading, proposal.markup
    named = corpora.sources(recipe)
    kinds = "; ".join(
        note.removeprefix(f"{source.root}: ") for note, source in zip(reading.notes, named, strict=True)
    )
    corpus = f"Corpus: {kinds}. Transcribed: {_spoken(proposal.speech)}."
    if reading.unsplit is not None:
        corpus += f" No splits can be made ({reading.unsplit.problem}): give it some before training."
    corpus += " Say here where it comes from. Licence: say whether models made from it may be shared."
    name = languages.name(recipe.language) or "Language"
    paragraphs = [
        f"{name} ({recipe.language}): say here whose language it is, where, and how many speak it.",
        corpus,
        f"Orthography: {'. '.join(proposal.writing.sentences())}.",
        f"Base: {recipe.model.base}.",
        "To beat: no published WER was looked up.",
        "Not run here.",
    ]
    # Paragraphs of a docstring, with what would end it escaped.
    filled = [
        textwrap.fill(printable(part), recipe_script.LINE_WIDTH, break_long_words=False, break_on_hyphens=False)
        for part in paragraphs
    ]
    description = "\n\n".join(filled).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    sections = [
        f"    language={recipe_script.literal(recipe.language)},",
        f"    corpus={recipe_script.call(recipe.corpus)},",
    ]
    if recipe.corpora:
        sections.append(f"    corpora=({', '.join(recipe_script.call(source) for source in recipe.corpora)},),")
    if recipe.text != Text():
        if proposed.fields():
            sections += recipe_script.comment(proposed.describe())
        sections.append(f"    text={recipe_script.call(recipe.text)},")
    sections += [
        *recipe_script.comment(f"{why[0].upper()}{why[1:].rstrip('.')}."),
        f"    model={recipe_script.call(recipe.model, always=('base',))},",
    ]
    if recipe.train.model_fields_set and recipe.train != type(recipe.train)():
        sections.append(f"    train={recipe_script.call(recipe.train)},")
    if recipe.augment != Augment():
        sections.append(f"    augment={recipe_script.call(recipe.augment)},")
    if recipe.report != Report():
        sections.append(f"    report={recipe_script.call(recipe.report)},")
    used = sorted(name for name in ("Augment", "Corpus", "Model", "Recipe", "Report", "Source", "Text", "Train")
                  if name == "Recipe" or any(f"{name}(" in line for line in sections))  # fmt: skip
    return (
        f'"""{description}\n"""\n\nfrom asr_adapt import {", ".join([*used, "run_recipe"])}\n\n'
        "RECIPE = Recipe(\n" + "\n".join(sections) + "\n)\n\n"
        'if __name__ == "__main__":\n    run_recipe(RECIPE)\n'
    )
