"""Contexts of next-token prediction, clustered by their last token."""

from typing import Any, NamedTuple

import numpy as np

from nc_jax.checks import require_count


class ContextRows(NamedTuple):
    """J clusters of contexts and the distribution of the token after them.

    Attributes:
        cluster: [V] the cluster of each last token; the last cluster contains all tokens
            without their own cluster.
        counts: [J] number of positions in the text with such a context.
        targets: [J, V] distributions of the next token, rows that sum to one.
    """

    cluster: np.ndarray
    counts: np.ndarray
    targets: np.ndarray

    @property
    def entropy(self) -> float:
        """Mean cross-entropy of the best prediction from the cluster alone, in nats."""
        positive = np.where(self.targets > 0, self.targets, 1)
        each = -np.sum(self.targets * np.log(positive), axis=1)
        return float(self.counts @ each / self.counts.sum())


def context_rows(tokens: Any, vocabulary: int, rows: int) -> ContextRows:
    """Clusters of the contexts of a text.

    Args:
        tokens: [T] integers 0…V−1.
        vocabulary: V.
        rows: J, from 2 to the number of tokens that are followed by another: the J − 1 most
            frequent last tokens have one cluster each, all others share one.

    Raises:
        TypeError, ValueError: naming the invalid argument.
    """
    rows = require_count("rows", rows, 2)
    tokens = np.asarray(tokens)
    previous, following = tokens[:-1], tokens[1:]
    frequency = np.bincount(previous, minlength=vocabulary)
    if rows > np.sum(frequency > 0):
        raise ValueError(f"rows must be at most {np.sum(frequency > 0)} contexts, got {rows}")
    cluster = np.full(vocabulary, rows - 1)
    cluster[np.argsort(-frequency, kind="stable")[: rows - 1]] = np.arange(rows - 1)
    pairs = np.zeros((rows, vocabulary))
    np.add.at(pairs, (cluster[previous], following), 1)
    counts = pairs.sum(axis=1)
    return ContextRows(cluster, counts, pairs / counts[:, None])
