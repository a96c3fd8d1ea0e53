"""What our boards, mixes and splits share: stages that hold others."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from plugin_bridge.effect.stage import Stage


class Container(Stage):
    """A stage that sends its audio through plugins and other stages."""

    @property
    @abc.abstractmethod
    def parts(self) -> Sequence[Any]:
        """The plugins, processors and containers that it holds."""

    def __copy__(self) -> Any:
        """Refused: both would send their sound through the same plugins.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"a copied {type(self).__name__} would share its plugins with the first one; use "
            "copy.deepcopy, or make one with plugins of its own"
        )
