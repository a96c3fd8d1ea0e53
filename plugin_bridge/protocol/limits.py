"""What one client may ask of a server."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Caps of a server; what is over one of them is refused.

    Attributes:
        control_bytes: Payload of a control message.
        channels: Of a stream.
        block_frames: ``max_block`` of a stream.
        sample_rate: Of a stream, in Hz.
        streams: Of one connection.
        clients: Connections at a time.
        strangers: Connections that have not said who they are; one more ends the oldest.
        queries: Of a stream.
        query_characters: Of a query, as sent.
        changes: Of a stream, that are not in effect yet.
        answer_bytes: Largest payload of one AUDIO message of a server.
        client_bytes: Sound that the streams of one connection hold.
        window_seconds: Sound in one window of a mode of one's own.
        idle_seconds: Without a message, after which a connection is closed.
        hello_seconds: Within which a connection must have said who it is.
    """

    control_bytes: int = 65_536
    channels: int = 32
    block_frames: int = 65_536
    sample_rate: int = 384_000
    streams: int = 64
    clients: int = 256
    strangers: int = 32
    queries: int = 16
    query_characters: int = 512
    changes: int = 1024
    answer_bytes: int = 67_108_864
    client_bytes: int = 1 << 30
    window_seconds: int = 30
    idle_seconds: int = 300
    hello_seconds: int = 5

    @property
    def audio_bytes(self) -> int:
        """The largest payload of a message with audio."""
        return 4 * self.channels * self.block_frames

    def as_dict(self) -> dict[str, int]:
        """Name to number, for the WELCOME message."""
        return dataclasses.asdict(self)
