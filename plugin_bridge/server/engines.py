"""The models that a server holds, and the engines of its streams."""

from __future__ import annotations

import contextlib
import math
import threading
from typing import Any

from audiosep_core.errors import AudioSepError, BundleError, ModeError, QueryError
from audiosep_core.models import installed_models
from audiosep_core.selection import Query, Selection, select
from audiosep_core.separator import Separator
from audiosep_core.session import MaskEstimator
from plugin_bridge.engine import StreamingSeparator
from plugin_bridge.modes import Mode, WindowSeconds, mode_windows
from plugin_bridge.protocol.messages import (
    Change,
    Contract,
    Failure,
    Open,
    QueryMessage,
    WindowMessage,
)
from plugin_bridge.server.batching import BatchedEstimator, Batcher
from plugin_bridge.server.stream import PreparedChange, RefusedError

#: Seconds within which a block is answered, unless a client says otherwise.
_SLACK_SECONDS, _TRACK_SLACK_SECONDS = 0.35, 0.02
#: Less is no time to compute anything in.
_LEAST_SLACK_SECONDS = 0.01
#: What JSON, which has no infinity, says for none.
_NO_REMAINDER_DB = -200.0
#: Models that a server loads besides its own.
_MOST_MODELS = 4


class ServedModel:
    """A model, loaded once, and the threads that run it.

    Args:
        separator: The model.
        name: Of the model.
        batches: Run windows of several streams in one call of the network.
    """

    def __init__(self, separator: Separator, name: str, batches: bool = True) -> None:
        estimator = separator.estimator
        assert isinstance(estimator, MaskEstimator)
        self.separator = separator
        self.name = name
        most_frames = estimator.batch_frames if batches else 0
        self.urgent = Batcher(estimator, most_frames, f"{name} realtime")
        self.patient = Batcher(estimator, most_frames, f"{name} render")

    def warm_up(self) -> None:
        """Run the network once on windows of the modes for live use."""
        estimator = self.separator.estimator
        modes: tuple[Mode, ...] = ("mix", "track")
        for mode in modes:
            # Not every model can keep to every mode.
            with contextlib.suppress(ModeError):
                windows = mode_windows(mode, self.separator.bundle, _slack_seconds(mode))
                for frames in windows.lengths(estimator.config):
                    estimator.prepare(1, frames)

    def close(self) -> None:
        """End the threads."""
        self.urgent.close()
        self.patient.close()

    def statistics(self) -> dict[str, Any]:
        """Figures of both threads together."""
        lanes = (self.urgent, self.patient)
        return {
            "model": self.name,
            "calls": sum(lane.calls for lane in lanes),
            "windows": sum(lane.windows for lane in lanes),
            "dropped": sum(lane.dropped for lane in lanes),
            "busy_seconds": round(sum(lane.busy_seconds for lane in lanes), 3),
        }


class Models:
    """The models of a server: its own, and others by name once they are asked for.

    Args:
        own: Loaded when the server starts.
        load: Loads another by its name.
    """

    def __init__(self, own: ServedModel, load: Any) -> None:
        self.own = own
        self._load = load
        self._others: dict[str, ServedModel] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> ServedModel:
        """A model.

        Raises:
            RefusedError: None of that name is installed, or too many are loaded.
        """
        with self._lock:
            if name in ("", self.own.name):
                return self.own
            if name not in self._others:
                # Names only: a client does not choose which files the server reads.
                if name not in installed_models():
                    raise RefusedError(Failure("bad-model", f"no model {name!r} is installed"))
                if len(self._others) >= _MOST_MODELS:
                    raise RefusedError(Failure("limit", f"{_MOST_MODELS} other models are loaded"))
                try:
                    self._others[name] = self._load(name)
                except AudioSepError as error:
                    raise RefusedError(Failure("bad-model", str(error))) from None
            return self._others[name]

    def all(self) -> list[ServedModel]:
        """Every model that is loaded."""
        with self._lock:
            return [self.own, *self._others.values()]


class StreamSettings:
    """What a stream was asked for, kept up to date by its changes; makes its engines.

    Args:
        message: What opened the stream.
        model: That runs it.

    Raises:
        RefusedError: The contract and the slack do not go together.
    """

    def __init__(self, message: Open, model: ServedModel) -> None:
        self._open = message
        self._model = model
        self._queries = [_query(query) for query in message.queries]
        self._strength = message.strength
        self._remainder_db = _remainder(message.remainder_db)
        self._mode = _mode(message.mode)
        slack = message.slack
        if slack is None:
            slack = round(_slack_seconds(self._mode) * message.sample_rate)
        self.slack = slack
        self._check_contract(message.contract)
        config = model.separator.estimator.config
        self.estimator = BatchedEstimator(config, model.urgent, model.patient)

    def engine(self) -> StreamingSeparator:
        """An engine of these settings.

        Raises:
            RefusedError: They are impossible.
        """
        message = self._open
        try:
            windows = mode_windows(
                self._mode, self._model.separator.bundle, self.slack / message.sample_rate
            )
            return StreamingSeparator(
                self._queries,
                message.sample_rate,
                message.channels,
                windows,
                self._model.separator,
                outputs=message.outputs,
                strength=self._strength,
                remainder_db=self._remainder_db,
                estimator=self.estimator,
            )
        except (AudioSepError, ValueError) as error:
            raise RefusedError(_failure(error)) from None

    def change(self, message: Change) -> PreparedChange:
        """What a change comes to; encodes its queries.

        Raises:
            RefusedError: It is impossible; the settings are as they were.
        """
        before = (self._queries, self._strength, self._remainder_db, self._mode)
        try:
            if message.contract is not None:
                self._check_contract(message.contract)
            if message.queries is not None:
                self._queries = [_query(query) for query in message.queries]
            if message.strength is not None:
                self._strength = message.strength
            if message.remainder_db is not None:
                self._remainder_db = _remainder(message.remainder_db)
            if message.mode is not None:
                self._mode = _mode(message.mode)
                return PreparedChange(None, self.engine(), message.contract)
            return PreparedChange(self._selection(message), None, message.contract)
        except RefusedError:
            self._queries, self._strength, self._remainder_db, self._mode = before
            raise

    def _selection(self, message: Change) -> Selection | None:
        if message.queries is None and message.strength is None and message.remainder_db is None:
            return None
        try:
            encoder = self._model.separator.encoder
            return select(self._queries, encoder, self._strength, self._remainder_db)
        except (AudioSepError, ValueError) as error:
            raise RefusedError(_failure(error)) from None

    def _check_contract(self, contract: Contract) -> None:
        least = round(_LEAST_SLACK_SECONDS * self._open.sample_rate)
        if contract == "realtime" and self.slack < least:
            raise RefusedError(
                Failure(
                    "bad-value",
                    f"a slack of {self.slack} frames leaves no time to compute; open the stream "
                    f"with {least} at least, or in the contract 'render'",
                )
            )


def _query(message: QueryMessage) -> Query:
    try:
        return Query(message.text, message.gain_db, message.mute, message.solo, message.negative)
    except (AudioSepError, ValueError) as error:
        raise RefusedError(_failure(error)) from None


def _mode(mode: str | WindowMessage) -> Mode:
    if isinstance(mode, str):
        return mode  # type: ignore[return-value]
    try:
        return WindowSeconds(mode.hop, mode.context, mode.look_ahead)
    except AudioSepError as error:
        raise RefusedError(_failure(error)) from None


def _remainder(remainder_db: float | None) -> float:
    return -math.inf if remainder_db is None or remainder_db <= _NO_REMAINDER_DB else remainder_db


def _slack_seconds(mode: Mode) -> float:
    return _TRACK_SLACK_SECONDS if mode == "track" else _SLACK_SECONDS


def _failure(error: Exception) -> Failure:
    codes = ((QueryError, "bad-query"), (ModeError, "bad-mode"), (BundleError, "bad-model"))
    code = next((code for kind, code in codes if isinstance(error, kind)), "bad-value")
    return Failure(code, str(error))
