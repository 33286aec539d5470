"""Transcribing a split by all processes of a run together."""

from collections.abc import Callable, Iterable

from asr_adapt import processes
from asr_adapt.corpora.speech_split import SpeechSplit
from asr_adapt.errors import InputError
from asr_adapt.inference.transcriber import Transcriber
from asr_adapt.records import Transcript

Results = Iterable[Transcript | InputError]


def transcripts(
    transcriber: Transcriber, speech: SpeechSplit, over: Callable[[Results], Results] = iter
) -> list[Transcript | InputError]:
    """Return a result for each utterance, in order, in every process, each of which must call this for its share.

    In fp32 they are those of one process; in bf16 a text depends on what shares its batch.

    Args:
        transcriber: The model.
        speech: The split, the same in every process.
        over: Shows progress, such as `Bar.over`; it counts the results of this process.
    """
    mine = speech.select(processes.share(len(speech)))
    return processes.together(list(over(transcriber.transcribe_segments(mine.recordings()))), len(speech))
