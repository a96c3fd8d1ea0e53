"""Figures of a running server in bounded memory."""

from __future__ import annotations

import math
from typing import Any

#: Each bucket is a tenth wider than the one before it, from a microsecond on.
_GROWTH = math.log(1.1)
_SMALLEST = 1e-6
#: Durations that are told as a histogram.
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Up to 190 s.
_BUCKETS = 200


class Histogram:
    """Durations, of which quantiles are known to a tenth."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        bucket = 0
        if seconds > _SMALLEST:
            bucket = min(_BUCKETS - 1, int(math.log(seconds / _SMALLEST) / _GROWTH) + 1)
        self._counts[bucket] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, share: float) -> float:
        """The duration in seconds that ``share`` of all do not exceed; 0 for none at all."""
        wanted = share * self.count
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return _SMALLEST * math.exp(bucket * _GROWTH)
        return 0.0

    def summary(self) -> dict[str, Any]:
        """Count, mean and quantiles, in milliseconds."""
        mean = self.total / self.count if self.count else 0.0
        figures = {"count": self.count, "mean_ms": round(1000 * mean, 3)}
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            figures[f"{name}_ms"] = round(1000 * self.quantile(share), 3)
        return figures

    def merge(self, other: Histogram) -> None:
        """Add what another one counted."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.total += other.total

    def copy(self) -> Histogram:
        """One that goes its own way."""
        other = Histogram()
        other.merge(self)
        return other

    def buckets(self) -> dict[str, Any]:
        """Count, seconds in all, and (seconds, count up to there) at round durations."""
        bounds, seen, at = [], 0, 0
        for bound in _BOUNDS:
            while at < _BUCKETS and _SMALLEST * math.exp(at * _GROWTH) <= bound:
                seen += self._counts[at]
                at += 1
            bounds.append((bound, seen))
        return {"count": self.count, "seconds": round(self.total, 6), "buckets": bounds}
