"""The schedule: learning rate, and batches by length as a function of seed and step."""

from itertools import islice, pairwise

import numpy as np
import pytest
from conftest import resolved

from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, ResolvedTrain, Train
from asr_adapt.training import schedule


def settled(**train: object) -> ResolvedTrain:
    return resolved(Recipe(language="mi", train=Train(**train))).train


def test_every_clip_stands_once_in_an_epoch_with_hardly_any_padding() -> None:
    durations = np.random.default_rng(0).gamma(4, 1, size=2000) + 0.5
    batches = schedule.batches_by_length(durations.tolist(), 60, np.random.default_rng(1))
    assert sorted(i for batch in batches for i in batch) == list(range(2000))
    padded = sum(len(batch) * durations[batch].max() for batch in batches)
    assert padded / durations.sum() <= 1.03
    assert all(len(batch) * durations[batch].max() <= 60 for batch in batches)


def test_a_clip_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    batches = schedule.batches_by_length([1.0, 90.0, 1.0], 60, np.random.default_rng(0))
    assert sorted(map(sorted, batches)) == [[0, 2], [1]]


def test_batches_differ_from_epoch_to_epoch() -> None:
    durations = np.random.default_rng(0).uniform(1, 5, size=200).tolist()
    epochs = [schedule.batches_by_length(durations, 20, np.random.default_rng([1, epoch])) for epoch in range(2)]
    assert {frozenset(batch) for batch in epochs[0]} != {frozenset(batch) for batch in epochs[1]}


def test_the_rate_rises_holds_and_decays_to_a_twentieth() -> None:
    conf = settled(steps=1000, warmup=0.1, hold=0.4)
    scale = [schedule.rate_scale(step, conf) for step in range(1000)]
    assert scale[0] == pytest.approx(0.01) and scale[99] == 1.0
    assert set(scale[100:500]) == {1.0}
    assert all(later < earlier for earlier, later in pairwise(scale[500:]))
    assert scale[-1] == pytest.approx(0.05, rel=0.01)
    assert all(
        0 < schedule.rate_scale(step, settled(steps=steps)) <= 1 for steps in (1, 2, 3) for step in range(steps)
    )


def test_a_plan_goes_on_in_the_middle_as_if_it_had_begun_at_the_beginning() -> None:
    conf, durations = settled(steps=40, batch_s=10, accumulate=2), [1.0 + i % 7 for i in range(30)]
    whole = list(schedule.plan(durations, conf, start=0, stop=40))
    assert len(whole) == 40 and all(len(batches) == 2 for batches in whole)
    assert list(schedule.plan(durations, conf, start=25, stop=40)) == whole[25:]
    assert list(schedule.plan(durations, conf, start=40, stop=40)) == []
    assert list(islice(schedule.plan(durations, conf.model_copy(update={"seed": 2}), 0, 40), 5)) != whole[:5]


@pytest.mark.parametrize("policy", [None, 0, 1], ids=["nothing", "feature_encoder", "below:1"])
def test_layers_are_unfrozen_from_the_top_down_to_those_that_stay_frozen(policy: int | None) -> None:
    conf = settled(steps=100, head_steps=3, unfreeze_steps=10)
    depths = [schedule.frozen_depth(step, conf, policy, 4) for step in range(100)]
    assert depths == [3] * 13 + [2] * 10 + [1] * 10 + [policy] * 67
    assert {schedule.frozen_depth(step, settled(), policy, 4) for step in range(100)} == {policy}


def test_unfreezing_that_would_not_reach_its_lowest_layer_is_refused() -> None:
    conf = settled(steps=34, head_steps=3, unfreeze_steps=10)
    schedule.check_unfreezing(conf, 0, 4)
    with pytest.raises(InputError, match=r"train\.unfreeze_steps: must be at most 9 for 4 layers in 33 steps"):
        schedule.check_unfreezing(conf.model_copy(update={"steps": 33}), 0, 4)
    schedule.check_unfreezing(conf.model_copy(update={"steps": 33}), 1, 4)
    with pytest.raises(InputError, match=r"Train longer \(train\.steps\)"):
        schedule.check_unfreezing(conf.model_copy(update={"steps": 4}), 0, 4)


def mixed(temperature: float, weights: tuple[float, float] = (1.0, 1.0)) -> tuple[schedule.Sampling, np.ndarray]:
    """Return the sampling of a corpus of 400 clips and one of 40, and their durations."""
    durations = np.random.default_rng(0).uniform(1, 5, size=440)
    return schedule.Sampling.of(durations, [0] * 400 + [1] * 40, weights, temperature), durations


def test_at_temperature_one_the_shares_are_those_of_the_hours_and_an_epoch_has_every_clip() -> None:
    sampling, durations = mixed(1)
    assert sampling.shares == pytest.approx(
        [durations[:400].sum() / durations.sum(), durations[400:].sum() / durations.sum()]
    )
    epochs = list(islice(sampling.epochs(durations, seed=1), 3))
    assert all(epoch.tolist() == list(range(440)) for epoch in epochs)
    conf = settled(steps=50, batch_s=10)
    assert list(schedule.plan(durations, conf, 0, 50, sampling)) == list(schedule.plan(durations, conf, 0, 50))


def test_a_higher_temperature_favours_the_small_corpus_and_weights_multiply() -> None:
    sampling, durations = mixed(2)
    hours = np.array([durations[:400].sum(), durations[400:].sum()]) / 3600
    assert sampling.shares == pytest.approx(np.sqrt(hours) / np.sqrt(hours).sum())
    assert mixed(1e9)[0].shares == pytest.approx([0.5, 0.5])
    assert mixed(1e9, (3.0, 1.0))[0].shares == pytest.approx([0.75, 0.25])
    for asked in (sampling, mixed(1, (1.0, 20.0))[0], mixed(1, (4.0, 1.0))[0]):
        clips = np.concatenate(list(islice(asked.epochs(durations, seed=1), 40)))
        heard = np.bincount(asked.corpus[clips], durations[clips])
        assert heard / heard.sum() == pytest.approx(asked.shares, abs=0.02)


def test_no_clip_is_twice_in_an_epoch_and_none_comes_again_before_all_of_its_corpus_came() -> None:
    sampling, durations = mixed(3)
    counts = np.zeros(440, int)
    for epoch in islice(sampling.epochs(durations, seed=1), 60):
        assert len(np.unique(epoch)) == len(epoch)
        counts[epoch] += 1
        assert np.ptp(counts[:400]) <= 1 and np.ptp(counts[400:]) <= 1
    assert counts[0] > 1, "there were several passes"


def test_a_corpus_without_clips_has_no_share() -> None:
    sampling = schedule.Sampling.of([2.0, 2.0], [0, 2], [1.0, 1.0, 1.0], 2)
    assert sampling.shares.tolist() == [0.5, 0, 0.5]
    assert next(sampling.epochs([2.0, 2.0], 1)).tolist() == [0, 1]


def test_a_plan_of_mixed_corpora_goes_on_in_the_middle_as_if_it_had_begun_at_the_beginning() -> None:
    sampling, durations = mixed(3)
    conf = settled(steps=300, batch_s=10)
    whole = list(schedule.plan(durations, conf, 0, 300, sampling))
    assert list(schedule.plan(durations, conf, 170, 300, sampling)) == whole[170:]
    other = conf.model_copy(update={"seed": 2})
    assert list(schedule.plan(durations, other, 0, 300, sampling)) != whole
