"""Markup in transcripts: each kind is a finding, and `text` fields that keep it from being learned as speech."""

from collections.abc import Sequence

from asr_adapt.records import Utterance
from asr_adapt.stages.doctor.finding import Finding, Severity, always, found
from asr_adapt.text.markup import Markup

_REMOVED = "text.drop removes it (proposed below; --fix applies it)."
_REPLACED = "text.replace maps them (proposed below; --fix applies it)."
# Kinds of `text.markup.KINDS`: finding, severity, problem, remedy.
MARKUP: dict[str, tuple[str, Severity, str, str]] = {
    "unclear": ("unclear_marks", "error", "transcripts with marks of speech that nobody understood",
                "text.unclear excludes them (proposed below; --fix leaves them out), or transcribe them."),
    "annotations": ("annotations", "error", "transcripts with annotations of noise, laughter, pauses or formatting: "
                    "their words would be learned as speech", _REMOVED),
    "chat_codes": ("chat_codes", "error", "transcripts with CHAT codes: their letters would be learned as speech",
                   _REMOVED),
    "praat_codes": ("praat_codes", "error", "transcripts with Praat's backslash codes in place of letters",
                    _REPLACED),
    "speaker_prefixes": ("speaker_prefixes", "error", "transcripts with the name of the speaker: it would be learned "
                         "as speech", _REMOVED),
    "timestamps": ("timestamps", "error", "transcripts with times of day or of the recording", _REMOVED),
    "footnotes": ("footnotes", "error", "transcripts with footnote numbers", _REMOVED),
    "entities": ("entities", "error", "transcripts with HTML entities in place of characters", _REPLACED),
    "bracketed_speech": ("bracketed_speech", "note", "transcripts with words in brackets that also occur outside of "
                         "brackets: taken for speech", "Nothing if they are spoken; else add them to text.drop."),
    "unclosed_brackets": ("unclosed_brackets", "warning", "transcripts with a bracket that is not closed",
                          "Correct them: it cannot be told what is speech."),
}  # fmt: skip


def check(utterances: Sequence[Utterance], markup: Markup) -> list[Finding]:
    """Return a finding for each kind of markup; `markup` is what `text.markup.find` returned for the transcripts."""
    findings = []
    for kind in markup.found:
        name, severity, problem, remedy = MARKUP[kind.kind]
        where = [(utterances[index].id, f"{span!r}, of {kind.examples()}") for index, span in kind.texts]
        unclear = (always,) if kind.kind == "unclear" else ()
        findings += found(name, severity, problem, remedy, where, *unclear)
    return findings
