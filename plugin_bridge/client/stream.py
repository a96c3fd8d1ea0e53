"""What a client knows of a stream of its own, whichever way the bytes go."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import BridgeError
from plugin_bridge.blocks import check_block, is_broken
from plugin_bridge.client.alignment import Alignment
from plugin_bridge.client.exchange import Exchange
from plugin_bridge.client.request import StreamRequest
from plugin_bridge.protocol.messages import Change, Contract, Opened


class StreamState(abc.ABC):
    """Settings, alignment and counters of a stream.

    Args:
        request: What was asked for.
        opened: What the server made of it.

    Attributes:
        replaced_blocks: Blocks with broken samples that silence took the place of.
        reconnects: How often the stream went on over another connection after it lost one.
        last_error: Why the connection was lost, or the last change that the server refused;
            None if neither happened.
    """

    def __init__(self, request: StreamRequest, opened: Opened) -> None:
        self._request = dataclasses.replace(request, slack=opened.slack)
        self._opened = opened
        self._exchange: Exchange | None = None
        self._alignment = Alignment(
            opened.latency, opened.slack, opened.rows, request.channels, request.sample_rate
        )
        self._substituted = 0
        self._closed = False
        #: What waits to be sent for longer than the delay would come too late.
        self._most_unsent = max(4 * request.channels * self.latency_samples, 1 << 16)
        self.replaced_blocks = 0
        self.reconnects = 0
        self.last_error: Exception | None = None
        #: Why there is no connection.
        self._why: BridgeError | None = None

    @property
    def sample_rate(self) -> int:
        """Of the stream, in Hz."""
        return self._request.sample_rate

    @property
    def channels(self) -> int:
        """Of the mixture, and of each row that comes out."""
        return self._request.channels

    @property
    def outputs(self) -> str:
        """What comes out."""
        return self._request.outputs

    @property
    def latency_samples(self) -> int:
        """Samples by which the output lies behind the input; constant for a stream."""
        return self._alignment.delay

    @property
    def connected(self) -> bool:
        """Whether a server works on the stream at this moment."""
        return self._exchange is not None

    @property
    def dry_frames(self) -> int:
        """Frames for which the mixture, as late as everything, took the place of an answer."""
        return self._alignment.dry_frames

    @property
    def substituted_blocks(self) -> int:
        """Blocks for which the server let masks made before stand in for late ones."""
        running = self._exchange.substituted_blocks if self._exchange else 0
        return self._substituted + running

    @property
    def strength(self) -> float:
        """Exponent of the masks; can be set while the stream runs."""
        return self._request.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._change(strength=value)

    @property
    def remainder_db(self) -> float:
        """Level in the target of what no stem claims; can be set while the stream runs."""
        return self._request.remainder_db

    @remainder_db.setter
    def remainder_db(self, value: float) -> None:
        self._change(remainder_db=value)

    @property
    def contract(self) -> Contract:
        """The contract, "realtime" or "render"; can be set while the stream runs."""
        return self._request.contract

    @contract.setter
    def contract(self, value: Contract) -> None:
        if value == "realtime" and not self._opened.slack:
            raise ValueError("a stream without slack cannot run in realtime; open one with slack")
        self._change(contract=value)

    def _change(self, position: int | None = None, **changed: Any) -> None:
        """Change settings from a frame on, by default the next; the server's answer comes later."""
        before = {name: getattr(self._request, name) for name in changed}
        request = dataclasses.replace(self._request, **changed)
        rows = self._opened.rows
        if self.outputs == "stems" and request.stems + 1 != rows:
            raise ValueError(
                f"the stream has {rows - 1} stems, not {request.stems}; open another one for as "
                "many, or mute some"
            )
        self._request = request
        if self._exchange is None:
            self._seek()
            return
        at = self._alignment.pushed if position is None else position
        change = request.change(max(0, at - self._alignment.base), changed)
        self._say_change(change, before)

    @abc.abstractmethod
    def _say_change(self, change: Change, before: dict[str, Any]) -> None:
        """Send a change; ``before`` holds the settings to go back to if it is refused."""

    @abc.abstractmethod
    def _seek(self) -> None:
        """Look for a connection, unless nobody wants one."""

    def _check_same(self, opened: Opened) -> None:
        """Whether a stream opened now can go on where the one before ended.

        Raises:
            BridgeError: It is of another kind.
        """
        if dataclasses.replace(opened, model="") != dataclasses.replace(self._opened, model=""):
            raise BridgeError(
                f"the server's model {opened.model} has another latency or other outputs than "
                f"{self._opened.model} had; open another stream"
            )

    def _adopt(self, exchange: Exchange) -> None:
        """Go on over a connection on which the stream is open."""
        exchange.place = self._alignment.place
        self._alignment.reopen()
        self._exchange = exchange

    def _check_open(self) -> None:
        if self._closed:
            raise BridgeError("the stream is closed; open another one")

    def _check_connected(self) -> None:
        """Whether somebody separates; in the contract "realtime" nobody has to.

        Raises:
            BridgeError: There is no connection.
        """
        if self._exchange is None and self._request.contract == "render":
            raise BridgeError(str(self._why))

    def _lose(self, error: BridgeError) -> None:
        """The connection is gone."""
        self._why = self.last_error = error
        if self._exchange is not None:
            self._substituted += self._exchange.substituted_blocks
        self._exchange = None

    def _sound(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """A block as it counts: silence if it is broken."""
        check_block(block, self.channels)
        if is_broken(block):
            self.replaced_blocks += 1
            return np.zeros_like(block)
        return block

    def _pieces(self, block: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A block in messages of the size that was agreed on."""
        most = self._request.max_block
        if block.shape[1] <= most:
            return [block]
        return [block[:, at : at + most] for at in range(0, block.shape[1], most)]

    def _refusals(self) -> None:
        """Take back changes that the server refused.

        Raises:
            QueryError, ModeError, ValueError: There are some, and in the contract "render"
                nobody wants audio without them.
        """
        if self._exchange is None:
            return
        while self._exchange.refused:
            error, before = self._exchange.refused.pop(0)
            self._request = dataclasses.replace(self._request, **before)
            self.last_error = error
            if self._request.contract == "render":
                raise error

    def _take(self, count: int) -> NDArray[np.float32]:
        """The next frames, in the form that the engine gives them.

        Raises:
            BridgeError: One has no answer, in the contract "render".
        """
        whole = self._alignment.ready(count)
        rows = self._alignment.take(count)
        if not whole and self._request.contract == "render":
            raise BridgeError(
                "frames are missing since the connection was lost, and a bounce must be whole; "
                "reset() the stream and begin anew"
            )
        return rows[0] if self.outputs == "target" else rows

    def _restarted(self) -> None:
        self._alignment.restart()
        self.replaced_blocks = 0

    def _figures(self) -> dict[str, Any]:
        return {
            "connected": self.connected,
            "latency_samples": self.latency_samples,
            "dry_frames": self.dry_frames,
            "substituted_blocks": self.substituted_blocks,
            "replaced_blocks": self.replaced_blocks,
            "reconnects": self.reconnects,
        }
