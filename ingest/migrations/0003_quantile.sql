-- The latency in µs at rank floor(q * (n - 1)) of log-bucket counts; NULL when nothing was counted.
-- gamma = (1 + alpha) / (1 - alpha) with alpha = 0.005, that is 201 / 199: ingest.sketch is its home, a test compares them.
CREATE OR REPLACE FUNCTION quantile_us AS (buckets, q) -> if(
    arraySum(mapValues(buckets)) = 0,
    NULL,
    2 * pow(
        201 / 199,
        mapKeys(mapSort(buckets))[
            arrayFirstIndex(
                below -> below > floor(q * (arraySum(mapValues(buckets)) - 1)),
                arrayCumSum(mapValues(mapSort(buckets)))
            )
        ]
    ) / (201 / 199 + 1)
);
