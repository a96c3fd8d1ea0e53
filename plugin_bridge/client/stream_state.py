"""What a client knows of a stream of its own, whichever way the bytes go."""

from __future__ import annotations

import abc
import dataclasses
import sys
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.errors import AudioSepError, BridgeError
from audiosep_core.settings import Delta, Settings
from plugin_bridge.client.alignment import Alignment
from plugin_bridge.client.asked import Asked, PendingDelta
from plugin_bridge.client.exchange import Exchange
from plugin_bridge.client.snapshots import Snapshots
from plugin_bridge.live.blocks import as_block, is_broken
from plugin_bridge.protocol.messages import Change, Contract, Opened
from plugin_bridge.protocol.request import StreamDelta, StreamRequest

#: Of sound, that a server takes at a time.
_PORTION_SECONDS = 0.01
#: What frames are that nobody answers in the contract "render".
Missing = Literal["error", "mixture", "silence"]


class StreamState(abc.ABC):
    """All that a client knows of a stream: what is asked, what sounds when, and counters.

    A server that is new to the stream is asked for what is confirmed, and told the changes again.

    Args:
        request: What was asked for.
        opened: What the server made of it.
        missing: What frames are that nobody answers in the contract "render".

    Attributes:
        origin: First frame of the stream on the host's time line.
        failed_frames: Frames that nobody answered in the contract "render".
        replaced_blocks: Blocks with broken samples that silence took the place of.
        reconnects: How often the stream went on over another connection after it lost one.
        last_error: Why the connection was lost, or the last change that the server refused;
            None if neither happened.
    """

    def __init__(self, request: StreamRequest, opened: Opened, missing: Missing = "error") -> None:
        if missing not in get_args(Missing):
            named = ", ".join(map(repr, get_args(Missing)))
            raise ValueError(f"missing must be one of {named}, not {missing!r}")
        self._asked = Asked(dataclasses.replace(request, slack=opened.slack))
        self._missing = missing
        self._opened = opened
        self._exchange: Exchange | None = None
        form = request.format
        self._portion = max(1, round(_PORTION_SECONDS * form.sample_rate))
        self._alignment = Alignment(
            opened.latency,
            opened.slack,
            opened.rows,
            form.channels,
            # Of the mixture a new stream has to be given so much again, if this one is lost.
            kept=opened.preroll + self._portion,
        )
        #: What the server's network remembers of it, so that less has to be given again.
        self._snapshots = Snapshots()
        self.origin = request.origin
        self._substituted = 0
        self._closed = False
        #: What waits to be sent for longer than the delay would come too late.
        self._most_unsent = max(4 * form.channels * self.latency_samples, 1 << 16)
        self.failed_frames = 0
        self.replaced_blocks = 0
        self.reconnects = 0
        self._complained = self._gave_up = self._interrupted = False
        self.last_error: Exception | None = None
        #: Why there is no connection.
        self._why: AudioSepError | None = None

    @property
    def _confirmed(self) -> StreamRequest:
        return self._asked.confirmed

    @property
    def sample_rate(self) -> int:
        """Of the stream, in Hz."""
        return self._confirmed.format.sample_rate

    @property
    def channels(self) -> int:
        """Of the mixture, and of each row that comes out."""
        return self._confirmed.format.channels

    @property
    def outputs(self) -> str:
        """What comes out."""
        return self._confirmed.format.outputs

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
    def late_frames(self) -> int:
        """Frames whose answer came when the mixture had taken its place."""
        return self._alignment.late_frames

    @property
    def substituted_blocks(self) -> int:
        """Blocks for which the server let masks made before stand in for late ones."""
        running = self._exchange.substituted_blocks if self._exchange else 0
        return self._substituted + running

    @property
    def settings(self) -> Settings:
        """What is separated once all that was asked for is in effect."""
        return self._asked.wish().settings

    @property
    def strength(self) -> float:
        """Exponent of the masks; can be set while the stream runs."""
        return self.settings.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self.change(Delta(strength=value))

    @property
    def remainder_db(self) -> float:
        """Level in the target of what no stem claims; can be set while the stream runs."""
        return self.settings.remainder_db

    @remainder_db.setter
    def remainder_db(self, value: float) -> None:
        self.change(Delta(remainder_db=value))

    @property
    def contract(self) -> Contract:
        """The contract, "realtime" or "render"; can be set while the stream runs."""
        return self._asked.contract

    @contract.setter
    def contract(self, value: Contract) -> None:
        if value == "realtime" and not self._opened.slack:
            raise ValueError("a stream without slack cannot run in realtime; open one with slack")
        self._change(StreamDelta(contract=value))

    def change(self, delta: Delta, position: int | None = None) -> None:
        """Change what is separated.

        Args:
            delta: What changes; the rest stays.
            position: Frame of the mixture at which it is heard, on the time line of the origin; by
                default the next one. One whose masks are made stands for the first one whose are
                not.

        Raises:
            ValueError: With ``outputs="stems"``, the number of stems would change. What only the
                server finds out comes with a later ``process`` in the contract "render", and is
                the ``last_error`` otherwise; the change is then as if it had not been asked for.
        """
        self._change(StreamDelta(delta), position)

    def _change(self, delta: StreamDelta, position: int | None = None) -> None:
        at = self.origin + self._alignment.pushed if position is None else position
        item = self._asked.add(delta, at)
        if self._exchange is None:
            self._seek()
        else:
            self._say(item)

    def _say(self, item: PendingDelta) -> None:
        assert self._exchange is not None
        position = item.position
        if not self._exchange.has_origin:
            # Where the stream on this connection began.
            position -= self.origin + self._alignment.base
        item.sequence = self._say_change(item.delta.message(max(0, position)))

    def _settle(self, sequence: int, position: int, refused: Exception | None) -> None:
        """The server's answer to a change: where it took effect, or why it did not."""
        if refused is None:
            assert self._exchange is not None
            if not self._exchange.has_origin:
                position += self.origin + self._alignment.base
            self._asked.confirm(sequence, position)
        else:
            self.last_error = refused
            self._asked.refuse(sequence, refused)

    @abc.abstractmethod
    def _say_change(self, change: Change) -> int | None:
        """Send a change: the number of the message, None if the connection is lost by it."""

    @abc.abstractmethod
    def _say_origin(self, origin: int) -> None:
        """Tell a stream that nothing was sent on yet where it begins."""

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

    def _push(self, block: NDArray[np.float32]) -> None:
        """Push a block, and remember it for as long as a new stream would need it."""
        self._alignment.push(block)
        self._asked.hold(self._past_begin)

    @property
    def _past_begin(self) -> int:
        """The first frame of the past, on the time line of the origin."""
        return self.origin + self._alignment.pushed - len(self._alignment.past)

    def _replayed(self) -> tuple[StreamRequest, bytes | None, NDArray[np.float32]]:
        """What to open when a render lost its server, and what to send on it at once.

        That is a snapshot, if there is one, and the mixture: what was not answered, and before it
        what its masks depend on. Queries and levels are those that held then; the changes since
        are to be said again.

        Raises:
            BridgeError: A call was interrupted, and nobody knows what the caller has of it.
        """
        if self._interrupted:
            raise BridgeError(str(self._why))
        first = max(0, self._alignment.end - self._opened.preroll)
        # In the portions in which the server took it before: others give other last bits.
        first -= first % self._portion
        begin = max(self.origin + first, self._past_begin)
        snapshot = self._snapshots.latest(self.origin + self._alignment.end)
        if snapshot is not None and snapshot.origin >= self._past_begin:
            begin = snapshot.origin
        else:
            snapshot = None
        held = self._asked.rewind(begin)
        past = self._alignment.past.last(self._past_begin + len(self._alignment.past) - begin)
        data = None if snapshot is None else snapshot.data
        return dataclasses.replace(held, origin=begin), data, past

    def _adopt(self, exchange: Exchange, base: int | None = None) -> None:
        """Go on over a connection on which the stream is open.

        Args:
            exchange: Of the connection.
            base: First frame of the stream, where that is one that was sent before.
        """
        exchange.place = self._alignment.place
        exchange.settle = self._settle
        exchange.snapshots = self._snapshots
        self._alignment.reopen(base)
        self._gave_up = False
        self._exchange = exchange
        self._asked.unsay()
        begins = self.origin + self._alignment.base
        if base is None and exchange.has_origin and begins != self._confirmed.origin:
            self._say_origin(begins)
        for item in list(self._asked.pending):
            if self._exchange is exchange:
                self._say(item)

    def _check_open(self) -> None:
        if self._closed:
            raise BridgeError("the stream is closed; open another one")

    def _interrupt(self) -> None:
        """A call was broken off: in a render nothing can follow it but a reset."""
        self._interrupted = True
        self._lose(BridgeError("a call was interrupted; reset() the stream"))

    def _give_up(self, error: AudioSepError) -> None:
        """Nobody answers a render, or not for long enough.

        Raises:
            AudioSepError: That is an error.
        """
        self._gave_up = True
        if self._missing == "error":
            raise error
        self._why = self.last_error = error

    def _lose(self, error: BridgeError) -> None:
        """The connection is gone."""
        self._why = self.last_error = error
        if self._exchange is not None:
            self._substituted += self._exchange.substituted_blocks
            self._exchange.leave()
        self._exchange = None

    def _sound(self, block: ArrayLike) -> NDArray[np.float32]:
        """A block as it counts, (channels, n): silence if it is broken."""
        sound = as_block(block, self.channels)
        if is_broken(sound):
            self.replaced_blocks += 1
            return np.zeros_like(sound)
        return sound

    def _pieces(self, block: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A block in messages of the size that was agreed on."""
        most = self._confirmed.max_block
        if block.shape[1] <= most:
            return [block] if block.shape[1] else []
        return [block[:, at : at + most] for at in range(0, block.shape[1], most)]

    def _tell_refusals(self) -> None:
        """Say that the server refused changes.

        Raises:
            QueryError, ModeError, ValueError: It did, and in the contract "render" nobody wants
                audio without them.
        """
        while self._asked.refused:
            error = self._asked.refused.pop(0)
            if self.contract == "render":
                raise error

    def _take(self, count: int) -> NDArray[np.float32]:
        """The next frames, in the form that the engine gives them.

        Raises:
            BridgeError: One has no answer, in the contract "render".
        """
        bounces, dry = self.contract == "render", self._alignment.dry_frames
        rows = self._alignment.take(count, silent=bounces and self._missing == "silence")
        failed = self._alignment.dry_frames - dry
        if failed and bounces:
            self.failed_frames += failed
            if self._missing == "error":
                raise BridgeError(
                    "frames are missing since the connection was lost, and a bounce must be whole; "
                    "reset() the stream and begin anew"
                )
            self._complain()
        return rows[0] if self.outputs == "target" else rows

    def _complain(self) -> None:
        """Say aloud, once, that a render is not whole."""
        if self._complained:
            return
        self._complained = True
        instead = "silent" if self._missing == "silence" else "the mixture"
        print(
            f"audiosep: this render is not whole, frames from {self._alignment.pushed} on are "
            f"{instead}: {self._why or 'no answer came'}",
            file=sys.stderr,
            flush=True,
        )

    def _restarted(self, origin: int = 0) -> None:
        self._asked.restart()
        self._snapshots.clear()
        self._complained = self._gave_up = self._interrupted = False
        self._alignment.restart()
        self.origin = origin
        self.replaced_blocks = 0

    def _figures(self) -> dict[str, Any]:
        return {
            "connected": self.connected,
            "latency_samples": self.latency_samples,
            "dry_frames": self.dry_frames,
            "failed_frames": self.failed_frames,
            "late_frames": self.late_frames,
            "substituted_blocks": self.substituted_blocks,
            "replaced_blocks": self.replaced_blocks,
            "reconnects": self.reconnects,
        }
