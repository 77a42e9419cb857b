"""Words that the native token encoder remembers from call to call, so that each is computed once.

A word's embedding depends on its characters alone, and text repeats its words. The native encoder therefore keeps the
embeddings of the `word_cache_size` words used last, found by their character ids; results have the same bits with and
without. Memory grows as words come: 64 MiB of embeddings for 32,768 words of the original model, and a tenth of that
for their keys.

The words are forgotten when a parameter changes, and on `clear_cache()`. Copies and pickles start without any, a forked
child with its parent's. Where the native kernels do not run (see `elmo_fast.precision`) nothing is remembered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

DEFAULT_WORD_CACHE_SIZE = 32768


class CacheInfo(NamedTuple):
    """What a word cache holds and has done since it was last empty.

    Attributes:
        hits, misses: distinct words of a call that were, and were not, remembered. Sentence markers count as words.
        size, max_size: words held, and the most.
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
    """The word cache of the classes that encode words. Most hold another such object, which has the cache."""

    def _word_cache(self) -> Any:
        """The object that has the cache, or None where none has been made yet."""
        raise NotImplementedError

    def clear_cache(self) -> None:
        """Forgets the remembered words, and frees their memory."""
        cache = self._word_cache()
        if cache is not None:
            cache.clear_cache()

    def cache_info(self) -> CacheInfo:
        """Returns what the word cache holds and has done; see `elmo_fast.word_cache.CacheInfo`."""
        info: CacheInfo = self._word_cache().cache_info()
        return info
