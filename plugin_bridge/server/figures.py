"""Figures of a running server in bounded memory."""

from __future__ import annotations

import math
from typing import Any

#: Each bucket is a tenth wider than the one before it, from a microsecond on.
_GROWTH = math.log(1.1)
_SMALLEST = 1e-6
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
