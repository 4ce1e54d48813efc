"""Bucket counts answer quantiles within 1 % of the sample at the rank that numpy calls lower."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sketch import ALPHA, bucket_of, quantile, value_of

LATENCIES = st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=200)
QUANTILES = st.floats(0, 1)


@given(st.integers(1, 2**32 - 1))
def test_a_bucket_stands_for_its_latencies_within_alpha(latency_us):
    bucket = int(bucket_of(latency_us))
    assert value_of(bucket) == pytest.approx(latency_us, rel=ALPHA * 1.000001)


@given(LATENCIES, QUANTILES)
def test_quantile_is_within_one_percent_of_numpys_lower(latencies, q):
    counted = Counter(bucket_of(latencies).tolist())
    assert quantile(counted, q) == pytest.approx(float(np.quantile(latencies, q, method="lower")), rel=0.01)


@given(LATENCIES, LATENCIES, QUANTILES)
def test_counts_of_two_minutes_add_up_to_the_counts_of_both(one, other, q):
    apart = Counter(bucket_of(one).tolist()) + Counter(bucket_of(other).tolist())
    assert quantile(apart, q) == quantile(Counter(bucket_of(one + other).tolist()), q)


def test_nothing_counted_has_no_quantile():
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None


def test_below_a_microsecond_is_a_microsecond():
    assert bucket_of([0, 1]).tolist() == [0, 0]


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_a_quantile_outside_its_range_is_an_error(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile({1: 1}, q)


def test_buckets_keep_the_shape_and_fit_sixteen_bits():
    found = bucket_of(np.array([[1, 2**32 - 1]]))
    assert found.shape == (1, 2)
    assert found.dtype == np.int16
    assert found[0, 1] == 2219
