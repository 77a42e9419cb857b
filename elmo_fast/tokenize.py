"""Splits raw English text into words and punctuation, close to the Penn / Universal Dependencies convention.

Rules (the characters are never changed, so the tokens joined equal the text without its white space):

- White space separates tokens. Web addresses and e-mail addresses stay whole.
- Clitics are split off: `do n't`, `it 's`, `they 'll`, `can not`; curly apostrophes likewise. Other apostrophes stay
  inside the word: `O'Brien`.
- Numbers keep inner points, commas and colons: `3.14`, `1,000`, `10:30`. Abbreviations with a point after each letter
  (`U.S.`, `e.g.`) and common titles (`Mr.`, `Dr.`) keep their points.
- A run of one repeated mark is one token: `...`, `--`, `!!!`. Every other punctuation mark, symbol or emoji is a token
  of its own, hyphens too: `well - known`, `$ 5`. An emoji keeps its modifiers.

The rules are for English; text written without spaces between words (Chinese, Japanese, Thai) needs another tokenizer.
Time is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata

# Python's \w leaves out combining marks and joiners, which would cut words of many scripts into pieces. Such characters
# are replaced one for one by this letter before matching; the tokens are then cut from the original text.
_LETTER = "\u02d0"
_WORD_FORMAT_CHARS = frozenset("\u00ad\u200c\u200d\u2060")
_EMOJI_PARTS = frozenset("\ufe0e\ufe0f\u20e3")

_TOKEN = re.compile(
    r"""
      (?:https?://|www\.)[^\s<>"]*[^\s<>"'.,;:!?)\]}’”]        # web address, without the sentence's punctuation
    | [\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+              # e-mail address; bounded, so that time stays linear
    | [0-9#*]\ufe0f?\u20e3                                     # keycap emoji
    | \d+(?:[.,:]\d+)+                                         # number
    | (?:[^\W\d_]\.){2,}                                       # U.S.  e.g.
    | (?<!\w)(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Gen|Sen|Rep|Gov|Lt|Col|Capt|Sgt|Rev|Hon|Inc|Corp|Ltd|Co|vs|etc)\.
    | \w+(?:['’]\w+)*                                          # word
    | [\U0001F1E6-\U0001F1FF]{2}                               # flag: two regional indicators
    | [^\w\s](?:[\ufe0e\ufe0f\u20e3\U0001F3FB-\U0001F3FF])+(?:\u200d[^\w\s][\ufe0e\ufe0f\U0001F3FB-\U0001F3FF]*)*
    | [^\w\s](?:\u200d[^\w\s][\ufe0e\ufe0f\U0001F3FB-\U0001F3FF]*)+     # emoji joined by zero-width joiners
    | ([.!?*=_~#+-])\1+                                        # ...  --  !!!
    | [^\w\s]
    """,
    re.VERBOSE,
)
_CLITICS = ("n't", "n’t", *(mark + end for mark in "'’" for end in ("s", "m", "d", "ll", "re", "ve")))


def tokenize(text: str) -> list[str]:
    """Splits one text into tokens by the rules above.

    Args:
        text: any string.
    Returns:
        the tokens, none of them empty; [] for an empty or blank text.
    Raises:
        TypeError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a text (str), got {type(text).__name__}")
    matched = text if text.isascii() else _with_marks_as_letters(text)
    tokens: list[str] = []
    for match in _TOKEN.finditer(matched):
        token = text[match.start() : match.end()]
        if token[0].isalpha():
            tokens.extend(_split_word(token))
        else:
            tokens.append(token)
    return tokens


def _with_marks_as_letters(text: str) -> str:
    """Replaces combining marks by a letter, and joiners too where both neighbours belong to a word."""
    marks = {c for c in set(text) if unicodedata.category(c).startswith("M") and c not in _EMOJI_PARTS}
    replaced = text.translate(dict.fromkeys(map(ord, marks), _LETTER)) if marks else text
    if _WORD_FORMAT_CHARS.isdisjoint(replaced):
        return replaced
    return re.sub(r"(?<=\w)[\u00ad\u200c\u200d\u2060](?=\w)", _LETTER, replaced)


def _split_word(word: str) -> list[str]:
    """Cuts clitics off the end, one after the other; something of the word always stays in front of them."""
    if word.lower() == "cannot":
        return [word[:3], word[3:]]
    parts: list[str] = []
    end = len(word)
    while end > 2:
        tail = word[max(end - 3, 0) : end].lower()
        clitic = next((c for c in _CLITICS if tail.endswith(c) and len(c) < end), None)
        if clitic is None:
            break
        parts.append(word[end - len(clitic) : end])
        end -= len(clitic)
    return [word[:end], *reversed(parts)]
