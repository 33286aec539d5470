"""Whether a recipe's base model is near enough, by a ranking of base models."""

from asr_adapt.artifacts import RankedBase, Ranking
from asr_adapt.stages.doctor.finding import Finding


def check(ranking: Ranking, base: str) -> list[Finding]:
    """Return what is wrong with a recipe's base model, by a ranking."""
    if not ranking.has_learned:
        remedy = "Check that transcripts belong to their recordings."
        problem = "no probe learns anything from this speech"
        return [Finding("nothing_learned", "warning", problem, remedy, (), ranking.recommendation)]
    own = next((one for one in ranking.bases if one.name == base), None)
    if own is None:
        return []
    nearest = ranking.bases[0]
    if own.is_far:
        remedy = "Train from scratch (--model.base none)." if nearest.is_far else f"Use {nearest.name}."
        return [Finding("far_base", "warning", "the base model is far: negative transfer is likely", remedy, (),
                        f"{_scored(own)}, no better than random weights")]  # fmt: skip
    if own.against_best[1] > 0:
        return [Finding("nearer_base", "warning", "another base model is nearer", f"Use {nearest.name}.", (),
                        f"{_scored(own)}; {_scored(nearest)}")]  # fmt: skip
    return []


def not_ranked(why: str) -> Finding:
    """Return that there is no ranking, and why."""
    return Finding("not_ranked", "note", "the base models were not ranked", "See asr-adapt rank.", (), why)


def _scored(one: RankedBase) -> str:
    return "{}: probe CER {:.3f} ({:.3f} to {:.3f})".format(one.name, one.cer, *one.cer_ci95)
