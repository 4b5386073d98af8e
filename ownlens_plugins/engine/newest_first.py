"""A table's log of staged sets, of which only those are read that are looked at, from the newest one backwards.

A run that brings one set in reads that one and its predecessor, however many there are: what a later set must know of
all earlier ones, its manifest carries (`recent`, `unsettled`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from .manifest import Manifest

Read = Callable[[int], Manifest | None]


class Log(Sequence[Manifest]):
    """The sets of a table, oldest first, as a sequence. Walking backwards and `numbered` read no more than they give.

    Its length, and a walk from the oldest on, read all of them.
    """

    def __init__(self, newest: Manifest | None, read: Read) -> None:
        self._read, self._lock = read, threading.Lock()
        self._found = [] if newest is None else [newest]  # the newest first
        self._rest = iter(()) if newest is None else self._walk(newest)

    @staticmethod
    def of(manifests: Iterable[Manifest]) -> Log:
        """Return the log of sets that are read already, oldest first."""
        if isinstance(manifests, Log):
            return manifests
        known = {manifest.sequence: manifest for manifest in manifests}
        log = Log(None, known.get)
        log._found = [*known.values()][::-1]
        return log

    def those(self, keep: Callable[[Manifest], bool]) -> Log:
        """Return the log of some of these sets, which reads no further back than it is asked."""
        log = Log(None, self.numbered)
        log._rest = filter(keep, reversed(self))
        log._reaches(0)
        return log

    def for_all(self) -> Log:
        """Return the sets that are for every destination: from them it is decided what the next one holds."""
        return self.those(lambda manifest: manifest.only is None)

    def _walk(self, manifest: Manifest) -> Iterator[Manifest]:
        before: Manifest | None = manifest
        while before is not None and before.predecessor:
            if (before := self._read(before.predecessor)) is not None:
                yield before

    def __reversed__(self) -> Iterator[Manifest]:
        number = 0
        while self._reaches(number):
            yield self._found[number]
            number += 1

    def _reaches(self, number: int) -> bool:
        # Where all tables stand is asked by several threads, which share a table's log.
        with self._lock:
            if number < len(self._found):
                return True
            if (found := next(self._rest, None)) is not None:
                self._found.append(found)
        return found is not None

    def numbered(self, sequence: int) -> Manifest | None:
        """Return the set of a number, if it is staged still."""
        for manifest in self._found:
            if manifest.sequence == sequence:
                return manifest
        return self._read(sequence)

    def _all(self) -> list[Manifest]:
        return [*reversed(self)][::-1]

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Manifest: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Manifest]: ...
    def __getitem__(self, index: int | slice) -> Manifest | Sequence[Manifest]:
        if index == -1 and self._found:
            return self._found[0]
        return self._all()[index]
