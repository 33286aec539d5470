"""LogME, a score of frozen features without training.

It is a hint beside a probe that is trained: it takes frames one by one, and what a layer knows of a letter is spread
over its neighbours.
"""

import numpy as np

_ITERATIONS = 11  # of the fixed point for the precisions


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
