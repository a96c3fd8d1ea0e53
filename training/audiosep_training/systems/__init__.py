"""The paper's comparison systems, each a network that :func:`build_system` makes by name.

Imports: audiosep_core.model, audiosep_core.runtime, audiosep_training.config,
audiosep_training.data; numpy, soxr, torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiosep_training.systems.base import System

#: Name of a system to the module below this package, and its class there.
_SYSTEMS = {
    "lass-net": ("lass_net.network", "LassNet"),
    "clipsep": ("clipsep.network", "ClipSep"),
    "clipsep-nit": ("clipsep.network", "ClipSepNit"),
    "uss-resunet30": ("uss.network", "UssResUNet30"),
    "uss-resunet60": ("uss.network", "UssResUNet60"),
    "segan": ("segan.network", "Segan"),
    "segan-plus": ("segan.network", "SeganPlus"),
    "wave-u-net": ("wave_u_net.network", "WaveUNet"),
    "audioset-unet": ("uss.audioset_unet", "AudioSetUNet"),
    "wiener": ("wiener.network", "Wiener"),
}
#: All names that :func:`build_system` knows.
SYSTEMS = tuple(_SYSTEMS)


def build_system(name: str, **options: object) -> System:
    """A comparison system with fresh weights, as trained from nothing.

    Args:
        name: One of :data:`SYSTEMS`.
        options: What its class takes: ``condition`` ("embedding" or "probabilities") of the USS
            systems, ``layers`` of Wave-U-Net, ``binary`` of CLIPSep, and sizes.

    Raises:
        ValueError: There is no such system, or an option's value is none it knows.
        TypeError: It takes no such option.
    """
    if name not in _SYSTEMS:
        raise ValueError(f"no system is called {name!r}; known: {', '.join(SYSTEMS)}")
    module, attribute = _SYSTEMS[name]
    found = importlib.import_module(f"{__name__}.{module}")
    return getattr(found, attribute)(**options)


def folder_of(name: str) -> str:
    """The package of a system: its network, and how it is trained and asked."""
    return f"{__name__}.{_SYSTEMS[name][0].partition('.')[0]}"
