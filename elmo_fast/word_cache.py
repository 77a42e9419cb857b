"""Words that the native token encoder remembers between calls, so that each is computed only once.

A word's embedding depends only on its characters, and texts repeat words. The native encoder therefore keeps the
embeddings of the `word_cache_size` most recently used words, found by their character ids; results have the same bits
with and without the cache. Memory is allocated as words arrive: 64 MiB of embeddings for 32,768 words of the original
model, and a tenth of that for their keys.

The words are forgotten when a parameter changes, and on `clear_cache()`. Copies and pickles start with an empty cache,
a forked child with its parent's. Where the native kernels do not run (see `elmo_fast.precision`) nothing is remembered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

DEFAULT_WORD_CACHE_SIZE = 32768


class CacheInfo(NamedTuple):
    """Contents of a word cache, and its counters since it was last empty.

    Attributes:
        hits, misses: distinct words of a call that were, and were not, remembered. Sentence markers count as words.
        size, max_size: number of words held, and its limit.
        nbytes: memory of the words held, in bytes.
    """

    hits: int
    misses: int
    size: int
    max_size: int
    nbytes: int


def check_word_cache_size(word_cache_size: int) -> int:
    """Returns `word_cache_size`; raises ValueError when it is not an integer of 0 or more."""
    if isinstance(word_cache_size, bool) or not isinstance(word_cache_size, int) or not 0 <= word_cache_size < 2**63:
        raise ValueError(f"word_cache_size: expected an integer of 0 or more, got {word_cache_size!r}")
    return word_cache_size


class WordCached:
    """The word cache of the classes that encode words. Most of them hold another such object, which has the cache."""

    def _word_cache(self) -> Any:
        """Returns the object that has the cache, or None if there is none yet."""
        raise NotImplementedError

    def clear_cache(self) -> None:
        """Forgets the remembered words, and frees their memory."""
        cache = self._word_cache()
        if cache is not None:
            cache.clear_cache()

    def cache_info(self) -> CacheInfo:
        """Returns the contents and counters of the word cache; see `elmo_fast.word_cache.CacheInfo`."""
        info: CacheInfo = self._word_cache().cache_info()
        return info
