"""What a file would sound like live: a separator that keeps to a latency mode."""

from __future__ import annotations

from audiosep_core.separator import Separator
from audiosep_core.settings import ModeName
from audiosep_core.signal.windows import Steps, Windows
from plugin_bridge.live.latency import stream_latency
from plugin_bridge.live.modes import keeps, mode_windows

MODES: tuple[ModeName, ...] = ("render", "mix", "track", "live")
#: In Hz; latencies are told for it.
_USUAL_RATE = 48_000


class HeardSeparator(Separator):
    """Separates files as a live stream of a mode is separated, in time with them.

    Args:
        separator: A loaded one, which is not loaded again.
        mode: "render" is the quality of a file.

    Attributes:
        mode: The mode.
        live: In which the model can be listened to: the same, or the quickest in place of render.
        latency_ms: Of a live stream of that at 48 kHz.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
    """

    def __init__(self, separator: Separator, mode: ModeName) -> None:
        self.__dict__.update(separator.__dict__)
        self._windows = mode_windows(mode, separator.bundle)
        self.mode = mode
        self.live = modes_of(separator)[-1] if mode == "render" else mode
        windows = mode_windows(self.live, separator.bundle)
        latency = stream_latency(windows, separator.bundle.config, _USUAL_RATE)
        self.latency_ms = 1000 * latency.total / _USUAL_RATE

    @property
    def grouping(self) -> Windows | Steps:
        """Those of the mode; a network that takes steps sounds the same in as many as it can."""
        return super().grouping if isinstance(self._windows, Steps) else self._windows


def modes_of(separator: Separator) -> list[ModeName]:
    """The modes that a model can keep to, the quickest last."""
    return [mode for mode in MODES if keeps(mode, separator.bundle)]
