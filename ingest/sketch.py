"""Log-bucket counts whose quantiles can be merged (DDSketch's mapping); stores and queries nothing.

Bucket i holds the latencies x with GAMMA^(i-1) < x ≤ GAMMA^i and answers 2·GAMMA^i/(GAMMA+1), within ALPHA of each.
Masson, Rim and Lee, "DDSketch", VLDB 2019. `quantile_us` in the migrations is the same rule in SQL.
"""

from collections.abc import Mapping
from math import floor, log

import numpy as np
import numpy.typing as npt

ALPHA = 0.005
GAMMA = (1 + ALPHA) / (1 - ALPHA)
_LOG_GAMMA = log(GAMMA)


def bucket_of(latencies_us: npt.ArrayLike) -> npt.NDArray[np.int16]:
    """The bucket of each latency (µs, shape kept). Below 1 µs counts as 1 µs."""
    return np.ceil(np.log(np.maximum(latencies_us, 1)) / _LOG_GAMMA).astype(np.int16)


def value_of(bucket: int) -> float:
    """The latency in µs that a bucket stands for."""
    return float(2 * GAMMA**bucket / (GAMMA + 1))


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """The latency in µs at rank ⌊q·(n-1)⌋ (from 0) of the n counted; None when nothing was counted.

    That is numpy's `quantile(…, method="lower")` to within ALPHA. Raises ValueError unless 0 ≤ q ≤ 1.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q!r}")
    rank = floor(q * (sum(buckets.values()) - 1))
    below = 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below > rank and below > 0:
            return value_of(bucket)
    return None
