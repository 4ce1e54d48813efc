"""Every limit of the door, with its unit and what happens at it. Holds no logic."""

BODY_BYTES_MAX = 4 * 2**20  # of a request as it comes: 413
BODY_UNPACKED_BYTES_MAX = 32 * 2**20  # of a request once unpacked: 413
REQUESTS_AT_ONCE_MAX = 8  # being read or unpacked: 429
BODY_READ_S = 20.0  # for a body to come: 408
SPANS_PER_REQUEST_MAX = 10_000  # the rest of the request is refused, and counted in its answer
SPANS_PER_SECOND_MAX = 5_000  # over all senders: 429, with the seconds to wait
SPANS_BURST_MAX = 20_000  # that may come at once after silence
ATTRIBUTES_PER_SPAN_MAX = 128  # OpenTelemetry's own default; further ones are dropped
SPAN_EVENTS_MAX = 128  # likewise
WORDS_CHARS_MAX = 16_384  # of one attribute that holds words: the rest of it is dropped
TRACES_HELD_MAX = 4_096  # the one that was silent longest is told at once and forgotten
SPANS_PER_TRACE_MAX = 20_000  # further ones are refused
HELD_BYTES_MAX = 256 * 2**20  # of all that is held: 429
ANCESTORS_MAX = 64  # of a span that are looked at for what it is part of
CLOSED_REMEMBERED_MAX = 65_536  # traces that were told and forgotten: what comes of them later is dropped
JOURNAL_BYTES_MAX = 64 * 2**20  # then it is written anew with what is still held
JOURNAL_REWRITE_S = 60.0  # likewise so often at most, when a call was closed since: its words must not stay on disk
SEEN_BEFORE_MAX_S = 29 * 86_400  # an older span would be buried by the worker
SEEN_AHEAD_MAX_S = 50 * 60  # likewise one of the future

SETTLE_S = 10.0  # after a call's end or a late span: exporters send every five seconds
IDLE_S = 600.0  # of a call whose end did not come: it is told without one
LINGER_S = 300.0  # a call that was told still takes late spans so long
TICK_S = 0.5  # how often this is looked at
CLOSED_REMEMBERED_S = 86_400.0
RETRY_AFTER_MAX_S = 30  # what a sender is told to wait at most
