"""Scores of frozen features without training: LogME, and how far this speech is from other speech.

They are hints beside a probe that is trained. LogME takes frames one by one, and what a layer knows of a letter is
spread over its neighbours; distances between two corpora see voices, microphones and noise as well as languages.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

_ITERATIONS = 11  # of the fixed point for the precisions
_DIRECTIONS = 256
_QUANTILES = 200
_CLUSTERS = 100  # San et al. have 500 of hours of speech
_PIECES = 1_000  # 10,000
_FIRST_CHARACTER = 0x4E00  # a block of thousands of letters, none of which a tokeniser takes apart


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the log of the maximum evidence of the labels, for each frame; higher is better.

    You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (ICML,
    arXiv:2102.11005): a Bayesian linear model of each class against the others, its precisions at their optimum; the
    mean over classes.

    Args:
        features: (frames, dimensions).
        labels: (frames,) class ids.
    """
    x = features.astype(np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-6)
    count, dimensions = x.shape
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    squares = s**2
    evidences = []
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        along = u.T @ y  # (rank,)
        rest = float(y @ y - along @ along)
        alpha = beta = 1.0
        for _ in range(_ITERATIONS):
            shrunk = alpha + beta * squares
            effective = float(np.sum(beta * squares / shrunk))
            weights = float(np.sum(np.square(beta * s * along / shrunk)))
            missed = float(np.sum(np.square(alpha * along / shrunk))) + rest
            alpha, beta = effective / max(weights, 1e-12), (count - effective) / max(missed, 1e-12)
        shrunk = alpha + beta * squares
        weights = float(np.sum(np.square(beta * s * along / shrunk)))
        missed = float(np.sum(np.square(alpha * along / shrunk))) + rest
        log_determinant = np.sum(np.log(shrunk)) + (dimensions - len(s)) * np.log(alpha)
        evidence = dimensions * np.log(alpha) + count * np.log(beta) - log_determinant - count * np.log(2 * np.pi)
        evidences.append(0.5 * (evidence - beta * missed - alpha * weights) / count)
    return float(np.mean(evidences))


def sliced_wasserstein(features: np.ndarray, reference: np.ndarray, seed: int = 0) -> float:
    """Return the sliced Wasserstein distance (order 1) of two sets of frames, in standard deviations of the second.

    Chen et al. 2023 (arXiv:2306.01015) compare layers by it, frames taken as independent: the mean, over random
    directions, of the distance between the frames' distributions along it. Each direction is measured by the
    reference's spread along it, so that layers and models of any scale compare.

    Args:
        features: float (frames, dimensions).
        reference: float (frames, dimensions), of the speech that a model was trained on.
        seed: Of the directions.
    """
    directions = np.random.default_rng(seed).standard_normal((reference.shape[1], _DIRECTIONS))
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    ours, theirs = (np.quantile(x.astype(np.float64) @ directions, at, axis=0) for x in (features, reference))
    spread = (reference.astype(np.float64) @ directions).std(axis=0)
    return float(np.mean(np.abs(ours - theirs).mean(axis=0) / (spread + 1e-9)))


def acoustic_tokens(
    clips: Sequence[np.ndarray], others: Sequence[np.ndarray], seed: int = 0
) -> list[list[list[int]]]:
    """Return both sets of clips as acoustic tokens: k-means clusters of the first set's frames, repetitions merged.

    Args:
        clips: float (frames, dimensions) each, of the target language.
        others: The same of another language, of the same layer of the same model.
        seed: Of the clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    frames = np.concatenate(clips).astype(np.float32)
    means = MiniBatchKMeans(_CLUSTERS, random_state=seed, batch_size=4096, n_init=3).fit(frames)
    return [
        [
            [int(token) for token, _ in groupby(means.predict(clip.astype(np.float32)).tolist())]
            for clip in of_language
        ]
        for of_language in (clips, others)
    ]


def token_similarity(target: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> float:
    """Return the acoustic token distribution similarity of two languages, from 0 to 1.

    San et al. 2024 (arXiv:2402.02302, section 3): the cosine of the frequencies of pieces, recurring sequences of
    acoustic tokens that a unigram model learns from the target language. There are fewer pieces here, for minutes of
    speech instead of hours. Its
    trainer breaks ties at random: the third digit differs from call to call.

    Args:
        target: Tokens of each clip of the target language, of `acoustic_tokens`.
        other: Those of the other language.
    """
    from tokenizers import Tokenizer, models, trainers

    texts = [["".join(chr(_FIRST_CHARACTER + token) for token in clip) for clip in each] for each in (target, other)]
    tokeniser = Tokenizer(models.Unigram())
    trainer = trainers.UnigramTrainer(vocab_size=_PIECES, show_progress=False, unk_token="?", special_tokens=["?"])
    tokeniser.train_from_iterator(texts[0], trainer)
    counts = np.zeros((2, tokeniser.get_vocab_size()))
    for row, of_language in zip(counts, texts, strict=True):
        for encoded in tokeniser.encode_batch(of_language):
            np.add.at(row, encoded.ids, 1)
    norms = np.linalg.norm(counts, axis=1)
    return float(counts[0] @ counts[1] / max(norms.prod(), 1e-9))
