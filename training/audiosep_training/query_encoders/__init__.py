"""Encoders that turn captions, sounds and videos into the condition of a training.

Imports: audiosep_core.model, audiosep_core.query, audiosep_core.video, audiosep_export.text,
audiosep_export.towers, audiosep_training.config; numpy, torch, transformers.
"""

from audiosep_training.query_encoders.base import FrozenEncoder
from audiosep_training.query_encoders.opening import open_encoder

__all__ = ["FrozenEncoder", "open_encoder"]
