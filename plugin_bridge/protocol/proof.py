"""Both sides prove that they know the token, and neither says it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal

_BYTES = 32
#: Characters of a challenge, as it may come.
LEAST_CHALLENGE, MOST_CHALLENGE = 32, 128


def new_challenge() -> str:
    """64 hexadecimal digits that nobody knows beforehand."""
    return secrets.token_hex(_BYTES)


def proof(token: str, side: Literal["client", "server"], asked: str, answered: str) -> str:
    """HMAC-SHA-256 of a conversation under the token, in hexadecimal digits.

    Args:
        token: What both sides know.
        side: Who proves; so nobody can be sent back what it said.
        asked: The client's challenge.
        answered: The server's.
    """
    said = f"audiosep bridge {side} {asked} {answered}"
    return hmac.new(_bytes(token), _bytes(said), hashlib.sha256).hexdigest()


def is_same(given: str, right: str) -> bool:
    """Whether two secrets are one, in a time that does not tell how much of them is."""
    return hmac.compare_digest(_bytes(given), _bytes(right))


def _bytes(text: str) -> bytes:
    # JSON can spell characters that UTF-8 has no bytes for.
    return text.encode(errors="replace")
