"""The server's log: a line of JSON for each event."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from audiosep_core.errors import UsageError

_LARGEST_FILE = 4 << 20
_OLD_FILES = 3
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line["where"] = traceback.format_exception(record.exc_info[1])[-3:]
        return json.dumps(line)


def open_log(logger: logging.Logger, path: Path | None) -> None:
    """Write the log to a file, of which four times 4 MiB are kept, or to standard error.

    A disk that is full costs lines of the log, never the server.

    Raises:
        UsageError: The file cannot be written.
    """
    # What cannot be logged is dropped without a word.
    logging.raiseExceptions = False
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.handlers.RotatingFileHandler(
                path, maxBytes=_LARGEST_FILE, backupCount=_OLD_FILES, encoding="utf-8"
            )
        except OSError as error:
            raise UsageError(
                f"the log {path} cannot be written ({error.strerror}); choose another place"
            ) from None
    handler.setFormatter(_Formatter())
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
