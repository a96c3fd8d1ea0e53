"""Separation of a stream with a streaming network: the counterpart of :mod:`.stream`.

Frames are a fixed part of a second, so the STFT works at the stream's own rate: no resampler
delays or filters anything, and what lies above the network's bins follows its mask.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.signal.causal_stft import CausalAnalysis, CausalSynthesis, window_pair
from audiosep_core.signal.fifo import Fifo
from audiosep_core.signal.level import RunningLevel
from audiosep_core.signal.levels import Levels
from audiosep_core.signal.resampling import Resampler
from audiosep_core.signal.selection import Selection, StemFactors
from audiosep_core.signal.snapshot import Snapshot
from audiosep_core.signal.stepping import StepEstimator, StepMasker
from audiosep_core.signal.stream import check_rows
from audiosep_core.signal.timeline import Transition

#: Where a rate cannot be divided into frames, the stream is resampled to this one.
INNER_RATE = 48_000


class SteppedStream:
    """Separates one stream whose rate is a multiple of the network's frame rate.

    Stems are aligned with the mixture, as :class:`audiosep_core.signal.stream.SeparationStream`
    has it; arguments and methods are the same, but for the windows.

    Args:
        estimator: The network.
        selection: What is separated first.
        sample_rate: Of the mixture and of the stems, in Hz.
        channels: Of the mixture and of each stem.
        summed: Give one row, the target of all stems, instead of a row for every stem.
        call_frames: Frames of one call of the network at most; 0 takes one step.
        origin: The first sample on a time line on whose grid frames and steps lie.

    Raises:
        ValueError: The rate cannot be divided into frames.
    """

    def __init__(
        self,
        estimator: StepEstimator,
        selection: Selection,
        sample_rate: int,
        channels: int,
        summed: bool = False,
        call_frames: int = 0,
        origin: int = 0,
    ) -> None:
        config = estimator.config
        self._hop_length = hop_length = config.hop_length(sample_rate)
        analysis, self._window = window_pair(hop_length, config.overlap, config.synthesis)
        self._synthesis = config.synthesis
        self._analysis = CausalAnalysis(analysis, hop_length, channels)
        self._scale = np.float32(1 / analysis.sum(dtype=np.float64))
        self._level = RunningLevel(config.level_seconds, config.frame_rate)
        call = call_frames or config.step_frames
        self._masker = StepMasker(estimator, selection, call)
        self._levels = Levels(selection, summed, sample_rate)
        self._stems: dict[bytes, CausalSynthesis] = {}
        self._channels = channels
        bins = len(analysis) // 2 + 1
        self._bins, self._seen = config.bins, min(bins, config.bins)
        self._spectra = Fifo((channels,), (bins,), np.complex64)
        self._mixture = Fifo((channels,))
        self._tail = (config.step_frames + config.look_ahead + config.synthesis) * hop_length
        #: What to remember, and in how many samples.
        self._awaited: tuple[int, Snapshot] | None = None
        self._call_length = call * hop_length
        #: What a stream has to hear before it can go on with what another one remembers: whole
        #: windows, and the end of what fades.
        heard = (config.overlap + config.synthesis) * hop_length + self._levels.fade
        self._lead = -(-heard // self._call_length) * self._call_length
        #: Silence that comes before the stream, so that it begins where the grid does.
        self._pad = self._left = origin % (config.step_frames * hop_length)
        if self._pad:
            self.push(np.zeros((channels, self._pad), np.float32))

    def select(self, selection: Selection, position: int) -> int:
        """As :meth:`audiosep_core.signal.stream.SeparationStream.select`."""
        check_rows(selection, self._levels)
        masker, levels = self._masker, self._levels
        at = max(position + self._pad, levels.last)
        if at <= self._pad and not masker.next:
            masker.replace(selection)
            levels.change(selection, 0)
            return position
        at = max(at, levels.position)
        if not selection.same_masks(masker.last):
            if not set(selection.asked) <= set(masker.last.asked):
                at = max(at, masker.next * self._hop_length)
            change = self._transition(selection, at)
            waiting = masker.waiting(change.heard)
            if waiting is not None and waiting >= levels.position:
                change = self._transition(selection, at := waiting)
            masker.change(change)
        levels.change(selection, at)
        return at - self._pad

    def _transition(self, selection: Selection, at: int) -> Transition:
        hop_length, synthesis = self._hop_length, self._synthesis
        # Frame t is heard from sample (t + 1 - synthesis) · hop_length on, for that many hops.
        heard = max(self._masker.given, (2 * at + synthesis * hop_length) // (2 * hop_length))
        released = -(-(at + self._levels.fade) // hop_length) + synthesis - 1
        return Transition(selection, at, at // hop_length, heard, released)

    def snapshot(self, origin: int) -> Snapshot | None:
        """What is remembered, with which another stream goes on.

        None soon after the start, within a step, and while the network is late.

        Args:
            origin: As it was given.
        """
        memory = self._masker.memory()
        position = origin - self._pad + self._masker.next * self._hop_length
        if memory is None or position - self._lead < origin:
            return None
        power, weight = self._level.memory
        rows = np.stack(list(memory.values()))
        return Snapshot(position - self._lead, position, power, weight, tuple(memory), rows)

    def resume(self, snapshot: Snapshot) -> None:
        """Go on with what another stream remembers; before the first sample, at its origin.

        Raises:
            ValueError: It is of another network, or of a stream at another rate.
        """
        if snapshot.position - snapshot.origin != self._lead:
            raise ValueError("the snapshot is damaged, or of a stream at another rate")
        # Shows at once whether it can be; what is heard until its position changes it again.
        self._masker.remember(dict(zip(snapshot.keys, snapshot.memory, strict=True)))
        self._awaited = self._lead, snapshot

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block, return what it completes.

        Args:
            block: (channels, n) float32, finite.

        Returns:
            (rows + 1, channels, m) float32: the stems, or the target, and last the residual.
        """
        if self._awaited is None:
            return self._push(block)
        left, snapshot = self._awaited
        if block.shape[1] < left:
            self._awaited = left - block.shape[1], snapshot
            return self._push(block)
        before = self._push(block[:, :left])
        self._masker.remember(dict(zip(snapshot.keys, snapshot.memory, strict=True)))
        self._level.memory = snapshot.power, snapshot.weight
        self._awaited = None
        return np.concatenate([before, self._push(block[:, left:])], -1)

    def _push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        self._mixture.push(block)
        spectra = self._analysis.push(block)
        if not spectra.shape[1]:
            return np.empty((self.rows + 1, self._channels, 0), np.float32)
        self._spectra.push(spectra)
        magnitude = np.zeros((spectra.shape[1], self._bins), np.float32)
        seen = spectra[..., : self._seen]
        power = np.add.reduce(seen.real**2 + seen.imag**2, 0) / np.float32(self._channels)
        np.multiply(np.sqrt(power), self._scale, out=magnitude[:, : self._seen])
        parts = [self._emit(*made) for made in self._masker.push(self._level.push(magnitude))]
        if not parts:
            return np.empty((self.rows + 1, self._channels, 0), np.float32)
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)
        if self._left:
            dropped = min(self._left, rows.shape[-1])
            self._left -= dropped
            rows = rows[..., dropped:]
        return rows

    def finish(self) -> NDArray[np.float32]:
        """End the stream, return the rest: (rows + 1, channels, m) float32."""
        left = len(self._mixture) - self._left
        rest = self.push(np.zeros((self._channels, self._tail), np.float32))
        return rest[..., :left]

    @property
    def rows(self) -> int:
        """Signals that come out, without the residual."""
        return self._levels.rows

    def _emit(self, first: int, hop: StemFactors) -> NDArray[np.float32]:
        """What some frames complete: at the start of a stream, fewer samples than they have."""
        frames = len(next(iter(hop.values()))[0])
        spectra = self._spectra.pop(frames)
        start = max(0, (first + 1 - self._synthesis) * self._hop_length)
        count = max(0, (first + 1 + frames - self._synthesis) * self._hop_length) - start
        stems = {}
        for key, (factors, top) in hop.items():
            if key not in self._stems:
                self._stems[key] = CausalSynthesis(
                    self._window, self._hop_length, self._synthesis, (self._channels,)
                )
            masked = np.multiply(spectra, top[:, None], dtype=np.complex64)
            masked[..., : self._seen] = spectra[..., : self._seen] * factors[:, : self._seen]
            made = self._stems[key].push(masked)
            missing = count - made.shape[-1]
            # One that begins here has nothing of the frames before.
            stems[key] = np.pad(made, ((0, 0), (missing, 0))) if missing else made
        self._stems = {key: self._stems[key] for key in hop}
        return self._levels.mix(stems, self._mixture.pop(count))


class ResampledStream:
    """A :class:`SteppedStream` at 48 kHz for rates that cannot be divided into frames.

    Arguments and methods are those of :class:`SteppedStream`. What the resamplers leave out, near
    the top of the band, counts as what no stem claims. Changes come at a sample of 48 kHz.
    """

    def __init__(
        self,
        estimator: StepEstimator,
        selection: Selection,
        sample_rate: int,
        channels: int,
        summed: bool = False,
        call_frames: int = 0,
        origin: int = 0,
    ) -> None:
        self._rate, self._channels = sample_rate, channels
        self._rows = selection.rows(summed)
        cells, self._left = divmod(origin, sample_rate // math.gcd(sample_rate, INNER_RATE))
        inner = cells * (INNER_RATE // math.gcd(sample_rate, INNER_RATE))
        self._stream = SteppedStream(
            estimator, selection, INNER_RATE, channels, summed, call_frames, inner
        )
        self._down = Resampler(sample_rate, INNER_RATE, channels)
        self._up = Resampler(INNER_RATE, sample_rate, (self._rows + 1) * channels)
        #: For what the resamplers leave out: no stem has any of it, the mixture has.
        self._levels = Levels(selection, summed, sample_rate)
        self._mixture = Fifo((channels,))
        self._pad = self._left
        if self._pad:
            self.push(np.zeros((channels, self._pad), np.float32))

    def select(self, selection: Selection, position: int) -> int:
        """As :meth:`SteppedStream.select`."""
        ratio = INNER_RATE / self._rate
        asked = 0 if position <= 0 else round((position + self._pad) * ratio)
        at = self._stream.select(selection, asked)
        begins = position if at == asked else math.ceil(at / ratio) - self._pad
        self._levels.change(selection, max(begins + self._pad, self._levels.position) if at else 0)
        return begins

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """As :meth:`SteppedStream.push`."""
        self._mixture.push(block)
        return self._emit(self._up.push(self._flat(self._stream.push(self._down.push(block)))))

    def finish(self) -> NDArray[np.float32]:
        """As :meth:`SteppedStream.finish`."""
        parts = [self._stream.push(self._down.finish()), self._stream.finish()]
        stems = [self._up.push(self._flat(part)) for part in parts]
        rest = np.concatenate([*stems, self._up.finish()], -1)
        missing = max(0, len(self._mixture) - rest.shape[-1])
        return self._emit(np.pad(rest, ((0, 0), (0, missing))))

    def _flat(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows.reshape((self._rows + 1) * self._channels, rows.shape[-1])

    def _emit(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        count = min(flat.shape[-1], len(self._mixture))
        rows = flat[:, :count].reshape(self._rows + 1, self._channels, count)
        mixture = self._mixture.pop(count)
        left_out = mixture - rows.sum(0)
        silent: defaultdict[bytes, NDArray[np.float32]]
        silent = defaultdict(lambda: np.zeros_like(left_out))
        rows = rows + self._levels.mix(silent, left_out)
        rows[-1] = mixture - rows[:-1].sum(0)
        dropped = min(self._left, count)
        self._left -= dropped
        return rows[..., dropped:]


def stepped_stream(
    estimator: StepEstimator,
    selection: Selection,
    sample_rate: int,
    channels: int,
    summed: bool = False,
    call_frames: int = 0,
    origin: int = 0,
) -> SteppedStream | ResampledStream:
    """The stream for a rate: its own where that can be divided into frames, else at 48 kHz."""
    kind = SteppedStream if has_own_frames(estimator.config, sample_rate) else ResampledStream
    return kind(estimator, selection, sample_rate, channels, summed, call_frames, origin)


def has_own_frames(config: StreamingConfig, sample_rate: int) -> bool:
    """Whether frames of a network are whole numbers of samples at a rate."""
    return sample_rate % config.frame_rate == 0
