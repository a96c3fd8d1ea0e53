"""What a server answers to a request that it cannot do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from audiosep_core.errors import AudioSepError, BundleError, ModeError, QueryError
from plugin_bridge.protocol.messages import Failure

_CODES = ((QueryError, "bad-query"), (ModeError, "bad-mode"), (BundleError, "bad-model"))


class RefusedError(Exception):
    """A request that cannot be done, with what to answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn errors of what was asked for into what to answer.

    Raises:
        RefusedError: Something impossible was asked for.
    """
    try:
        yield
    except (AudioSepError, ValueError) as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "bad-value")
        raise RefusedError(Failure(code, str(error))) from None
