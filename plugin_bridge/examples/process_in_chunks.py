"""Separate a track in chunks, with a compressor before and a reverb behind.

    python -m plugin_bridge.examples.process_in_chunks song.wav voice.wav "a person singing"

This is the loop of pedalboard's own documentation; the last line inside it is the only addition:
what the plugins still hold when the file ends has to be fetched.
"""

from __future__ import annotations

import argparse

from pedalboard import Compressor, Reverb
from pedalboard.io import AudioFile

from plugin_bridge import AudioSepProcessor, SeparationBoard

_CHUNK_SECONDS = 1


def process_in_chunks(source: str, target: str, query: str) -> None:
    """Read a file, separate it by a query, write what comes out; any length, little memory."""
    board = SeparationBoard(
        [
            Compressor(threshold_db=-24, ratio=3),
            AudioSepProcessor(query, mode="render"),
            Reverb(room_size=0.3, wet_level=0.2),
        ]
    )
    with (
        AudioFile(source) as file,
        AudioFile(target, "w", file.samplerate, file.num_channels) as output,
    ):
        while file.tell() < file.frames:
            chunk = file.read(int(_CHUNK_SECONDS * file.samplerate))
            output.write(board(chunk, file.samplerate, reset=False))
        output.write(board.flush())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="sound file to read")
    parser.add_argument("target", help="sound file to write")
    parser.add_argument("query", help="what to separate, in words")
    arguments = parser.parse_args()
    process_in_chunks(arguments.source, arguments.target, arguments.query)


if __name__ == "__main__":
    main()
