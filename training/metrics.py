"""Separation metrics, computed as the released evaluation computes them; all in decibels."""

from audiosep_core.metrics import sdr, sdr_improvement, si_sdr

__all__ = ["sdr", "sdr_improvement", "si_sdr"]
