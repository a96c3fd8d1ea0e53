"""A container that is a list of plugins, as pedalboard's containers are."""

from __future__ import annotations

import abc
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any

from plugin_bridge.effect.container import Container


class PluginList(Container, MutableSequence):
    """A container of plugins.

    Args:
        plugins: What it holds.
    """

    def __init__(self, plugins: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._items: list[Any] = []
        self._install(list(plugins or []))

    @abc.abstractmethod
    def _install(self, items: list[Any]) -> None:
        """Hold these from now on.

        Raises:
            TypeError: One is no plugin.
            ValueError: A processor comes twice, or the container is to hold itself.
        """

    @property
    def parts(self) -> Sequence[Any]:
        """The plugins."""
        return self._items

    def __repr__(self) -> str:
        plural = "" if len(self) == 1 else "s"
        return f"<{self._title} with {len(self)} plugin{plural}: {self._items}>"

    @property
    def _title(self) -> str:
        return type(self).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled, or copied deeply, holds copies and has a stream of its own."""
        return type(self), (list(self._items),)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        found = self._items[index]
        return type(self)(found) if isinstance(index, slice) else found

    def __setitem__(self, index: Any, value: Any) -> None:
        items = list(self._items)
        items[index] = value
        self._install(items)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self._items)
        del items[index]
        self._install(items)

    def insert(self, index: int, value: Any) -> None:
        """Put a plugin before another one.

        Raises:
            IndexError: The list is shorter than that.
            TypeError: It is no plugin.
            ValueError: The processor is in the list already.
        """
        if not -len(self) <= index <= len(self):
            raise IndexError("index out of range")
        items = list(self._items)
        items.insert(index, value)
        self._install(items)
