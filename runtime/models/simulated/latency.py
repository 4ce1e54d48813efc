"""How long a simulated model takes, from a seed; waits for nothing."""

import math
import random
from dataclasses import dataclass

FIRST_US_MIN, FIRST_US_MAX = 120_000, 1_200_000


@dataclass(frozen=True, slots=True)
class Speed:
    """First token: lognormal with this median; each further chunk about `chunk_us` later."""

    first_us: int
    sigma: float
    chunk_us: int


SPEEDS = {
    "sim-large": Speed(first_us=440_000, sigma=0.30, chunk_us=26_000),
    "sim-small": Speed(first_us=280_000, sigma=0.28, chunk_us=18_000),
}


def offsets_us(model: str, chunks: int, chance: random.Random) -> list[int]:
    """When each chunk is sent, in µs from the request's start, strictly rising. Raises KeyError for another model."""
    speed = SPEEDS[model]
    first_us = speed.first_us * math.exp(chance.gauss(0.0, speed.sigma))
    at_us = int(min(max(first_us, FIRST_US_MIN), FIRST_US_MAX))
    sent = []
    for _ in range(chunks):
        sent.append(at_us)
        at_us += int(speed.chunk_us * chance.uniform(0.6, 1.6))
    return sent
