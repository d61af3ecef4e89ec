"""One thread that computes, with room for one waiting input: the newest. An old input is replaced, never queued."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class LatestOnlyWorker(Generic[In, Out]):
    """Runs `work` on the newest input in a thread of its own."""

    def __init__(
        self, work: Callable[[In], Out], *, name: str = "inference", on_result: Callable[[], None] | None = None
    ) -> None:
        """on_result: called in that thread when there is something to take, an error too."""
        self._work, self._on_result = work, on_result or (lambda: None)
        self._changed = threading.Condition()
        self._waiting: In | None = None
        self._result: Out | None = None
        self._error: BaseException | None = None
        self._closing = self._working = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: In) -> In | None:
        """Puts an input in the slot; returns the input that it replaced, if one was still waiting."""
        with self._changed:
            replaced, self._waiting = self._waiting, item
            self._changed.notify()
            return replaced

    @property
    def busy(self) -> bool:
        """Whether an input waits or is worked on: what is to be taken will then change."""
        with self._changed:
            return self._working or self._waiting is not None

    def take(self) -> Out | None:
        """The newest result that was not taken yet, or None. Raises what `work` raised; the worker has then stopped."""
        with self._changed:
            if self._error is not None:
                raise self._error
            result, self._result = self._result, None
            return result

    def close(self, timeout_s: float = 10.0) -> None:
        """Finishes the input in work, drops the one that waits and ends the thread. TimeoutError if it does not end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the {self._thread.name} thread did not end within {timeout_s} s")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._waiting is not None)
                if self._closing:
                    return
                item, self._waiting, self._working = self._waiting, None, True
            assert item is not None
            try:
                result = self._work(item)
            except BaseException as error:  # handed to the taker, who decides
                with self._changed:
                    self._error, self._working = error, False
                self._on_result()
                return
            with self._changed:
                self._result, self._working = result, False
            self._on_result()
