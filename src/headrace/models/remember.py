"""An embedder that remembers the vectors of texts that come again.

Answers quote from the same passages again and again: their sentences would be embedded anew for
each question, which is nearly all that a quoted answer costs. A vector does not depend on what else
is embedded with its text, so a remembered one is exactly the one that would be made. Kept in memory
only, the least recently used go first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headrace.protocols import Embedder

LONGEST = 2_000  # code points: longer texts are documents, not sentences, and are not kept


class RememberingEmbedder:
    """Wraps an embedder; keeps the vectors of up to ``most`` texts (1.5 kB each at 384 dimensions).

    Safe to share between threads.
    """

    def __init__(self, inner: Embedder, most: int = 16_384) -> None:
        self.inner = inner
        self.most = most
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.inner.identity

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    @property
    def window(self) -> int:
        return self.inner.window

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """As the embedder within."""
        return self.inner.offsets(text)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dimension) float32, unit length; only texts that are new are computed."""
        import numpy as np

        if isinstance(texts, str):
            return self.inner.embed(texts)  # which says that it takes a sequence
        found: dict[str, NDArray[np.float32]] = {}
        with self._lock:
            for text in texts:
                if text in self._known:
                    self._known.move_to_end(text)
                    found[text] = self._known[text]
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            fresh = dict(zip(missing, self.inner.embed(missing), strict=True))
            found.update(fresh)
            with self._lock:
                for text, vector in fresh.items():
                    if len(text) <= LONGEST:
                        self._known[text] = vector.copy()  # a row of its own: the rest of the array goes
                while len(self._known) > self.most:
                    self._known.popitem(last=False)
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        return np.stack([found[text] for text in texts])
