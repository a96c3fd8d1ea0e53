"""The models that a server holds, and the engines of its streams."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioSepError, ModeError, UnknownModelError
from audiosep_core.model.bundle import Bundle
from audiosep_core.model.installed import default_model, installed_models, open_model
from audiosep_core.query.encoder import QueryEncoder
from audiosep_core.runtime.session import MaskEstimator
from audiosep_core.runtime.steps import StepNetwork
from audiosep_core.separator import Separator
from audiosep_core.settings import Mode, ModeName
from audiosep_core.signal.masking import Estimator
from audiosep_core.signal.stepping import StepEstimator
from audiosep_core.signal.windows import WindowSeconds
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.latency import call_lengths
from plugin_bridge.live.modes import keeps, longest_slack, mode_windows
from plugin_bridge.protocol.messages import Failure, Listed, ModelMessage
from plugin_bridge.protocol.request import StreamRequest
from plugin_bridge.server.batching import Batcher
from plugin_bridge.server.refusal import RefusedError, refusing

#: Seconds within which a block is answered, unless a client says otherwise. Streams that begin
#: together need the network together, a hop of "track" being 0.1 s: half of it is for all of them.
_SLACK_SECONDS, _TRACK_SLACK_SECONDS = 0.35, 0.05
#: What is played through answers within 35 ms in all, 20 of them the model's.
_LIVE_SLACK_SECONDS = 0.0149
#: Share of the slack, at most, and seconds, at most, that are left for what follows the masks.
_MARGIN_SHARE, _MARGIN_SECONDS = 0.12, 0.02
#: Less is no time to compute anything in.
_LEAST_SLACK_SECONDS = 0.01
#: Queries whose embeddings a model keeps at hand.
_MOST_KNOWN = 1024
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
        assert isinstance(estimator, MaskEstimator | StepNetwork)
        self.network = estimator
        self.separator = separator
        self.name = name
        self._known: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        most_frames = estimator.batch_frames if batches else 0
        self.urgent = Batcher(estimator, most_frames, f"{name} realtime")
        self.patient = Batcher(estimator, most_frames, f"{name} render")

    def known(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """(texts, condition_size) embeddings, at once; None where one has to be encoded."""
        found = [self._known.get(text) for text in texts]
        rows = [row for row in found if row is not None]
        return np.stack(rows) if len(rows) == len(found) else None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As :meth:`known`, but waits for the text encoder.

        Raises:
            QueryError, BundleError: As :meth:`audiosep_core.query.encoder.QueryEncoder.embed`.
        """
        rows = self.separator.encoder.embed(texts)
        with self._lock:
            for text, row in zip(texts, rows, strict=True):
                while len(self._known) >= _MOST_KNOWN:
                    self._known.pop(next(iter(self._known)))
                self._known[text] = row
        return rows

    def warm_up(self) -> None:
        """Run the network once on windows of the modes for live use."""
        estimator = self.separator.estimator
        modes: tuple[Mode, ...] = ("mix", "track", "live")
        for mode in modes:
            # Not every model can keep to every mode.
            with contextlib.suppress(ModeError):
                bundle = self.separator.bundle
                windows = mode_windows(mode, bundle, _slack_seconds(mode, bundle))
                for frames in call_lengths(windows, estimator.config):
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


class ServedModels:
    """The models of a server: its own, and others by name once they are asked for.

    Args:
        own: Loaded when the server starts.
        load: Loads another by its name.
    """

    def __init__(self, own: ServedModel, load: Any) -> None:
        self.own = own
        self._load = load
        self._others: dict[str, Future[ServedModel]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, mode: Mode) -> ServedModel:
        """A model by its name; without one the server's own, or what can be played through.

        Raises:
            RefusedError: None of that name is installed, or too many are loaded.
        """
        if not name and mode == "live" and not keeps(mode, self.own.separator.bundle):
            name = default_model(mode)
        if name in ("", self.own.name):
            return self.own
        with self._lock:
            future = self._others.get(name)
            mine = future is None
            if future is None:
                # Names only: a client does not choose which files the server reads.
                if name not in installed_models():
                    raise RefusedError(Failure("bad-model", f"no model {name!r} is installed"))
                if len(self._others) >= _MOST_MODELS:
                    raise RefusedError(Failure("limit", f"{_MOST_MODELS} other models are loaded"))
                future = self._others[name] = Future()
        if mine:
            # Whoever asks for numbers, or for another model, does not wait for this.
            try:
                future.set_result(self._load(name))
            except Exception as error:
                with self._lock:
                    del self._others[name]
                future.set_exception(error)
        try:
            return future.result()
        except AudioSepError as error:
            raise RefusedError(Failure("bad-model", str(error))) from None

    def listed(self, name: str) -> Listed:
        """The models that streams can be opened with, and the queries that one knows beforehand.

        Those are of its packs alone: what others have asked is nobody's business.

        Raises:
            RefusedError: None of that name is installed, or one is damaged.
        """
        own = self.own.separator
        with refusing():
            bundles = {known: open_model(known) for known in sorted(installed_models())}
            bundles = {self.own.name: own.bundle, **bundles}
            if name and name not in bundles:
                raise UnknownModelError(f"no model {name!r} is installed")
            served = not name or name == self.own.name
            encoder = own.encoder if served else QueryEncoder(bundles[name])
        models = [
            ModelMessage(known, [mode for mode in get_args(ModeName) if keeps(mode, bundle)])
            for known, bundle in bundles.items()
        ]
        return Listed(models, encoder.packed)

    def all(self) -> list[ServedModel]:
        """Every model that is loaded."""
        with self._lock:
            futures = list(self._others.values())
        loaded = [future.result() for future in futures if future.done() and not future.exception()]
        return [self.own, *loaded]


def resolve(request: StreamRequest, bundle: Bundle) -> StreamRequest:
    """A request with the slack that the server chooses where the client leaves it open.

    Raises:
        RefusedError: The contract and the slack do not go together.
    """
    slack = request.slack
    if slack is None:
        slack = int(_slack_seconds(request.format.mode, bundle) * request.format.sample_rate)
    resolved = dataclasses.replace(request, slack=slack)
    check_slack(resolved)
    return resolved


def check_slack(request: StreamRequest) -> None:
    """Refuse the contract "realtime" where the slack leaves no time for it.

    Raises:
        RefusedError: It leaves none.
    """
    least = round(_LEAST_SLACK_SECONDS * request.format.sample_rate)
    if request.contract == "realtime" and (request.slack or 0) < least:
        raise RefusedError(
            Failure(
                "bad-value",
                f"a slack of {request.slack} frames leaves no time to compute; open the stream "
                f"with {least} at least, or in the contract 'render'",
            )
        )


def make_engine(
    request: StreamRequest,
    model: ServedModel,
    estimator: Estimator | StepEstimator,
    most_window: float = math.inf,
) -> StreamingSeparator:
    """An engine for a request; encodes its queries.

    Args:
        request: What is asked.
        model: What runs it.
        estimator: What it asks for masks.
        most_window: Seconds of the longest window of a mode of one's own.

    Raises:
        RefusedError: The request is impossible.
    """
    form, separator = request.format, model.separator
    with refusing():
        slack_seconds = (request.slack or 0) / form.sample_rate
        windows = mode_windows(form.mode, separator.bundle, slack_seconds)
        own = form.mode if isinstance(form.mode, WindowSeconds) else None
        if own and own.hop + own.context + own.look_ahead > most_window:
            raise ModeError(
                f"a window of a mode of one's own may be {most_window:g} s long on this server"
            )
        return StreamingSeparator(
            request.settings,
            form.sample_rate,
            form.channels,
            windows,
            separator,
            outputs=form.outputs,
            estimator=estimator,
            origin=request.origin,
        )


def masks_within(slack: float) -> float:
    """Seconds after a block came in by which its masks are needed, of a slack in seconds."""
    return slack - min(_MARGIN_SHARE * slack, _MARGIN_SECONDS)


def _slack_seconds(mode: Mode, bundle: Bundle) -> float:
    if mode == "live":
        return _LIVE_SLACK_SECONDS
    chosen = _TRACK_SLACK_SECONDS if mode == "track" else _SLACK_SECONDS
    return min(chosen, longest_slack(mode, bundle))
