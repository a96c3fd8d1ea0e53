"""Encoders that turn captions, sounds and videos into the condition of a training."""

from training.query_encoders.base import QueryEncoder, open_encoder

__all__ = ["QueryEncoder", "open_encoder"]
