"""The splitter of raw text into words and punctuation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_fast.tokenize import tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ""),
        (" \t\n\u3000", ""),
        ("Hello, world!", "Hello , world !"),
        ("I don't think they'll say it's O'Brien's.", "I do n't think they 'll say it 's O'Brien 's ."),
        ("I can’t; you cannot.", "I ca n’t ; you can not ."),
        ("She'd've SAID: DON'T", "She 'd 've SAID : DO N'T"),
        ("'tis the dogs' \"bone\"", "' tis the dogs ' \" bone \""),
        ("a well-known state-of-the-art thing -- really", "a well - known state - of - the - art thing -- really"),
        ("It costs $3,000.50, at 10:30.", "It costs $ 3,000.50 , at 10:30 ."),
        ("Dr. Smith of the U.S. left, e.g. by car.", "Dr. Smith of the U.S. left , e.g. by car ."),
        ("Wait... what?! No!!!", "Wait ... what ? ! No !!!"),
        (
            "See https://x.org/a?b=c. Or (www.y.org), or a.b@c.org!",
            "See https://x.org/a?b=c . Or ( www.y.org ) , or a.b@c.org !",
        ),
        ("AT&T's 50% of __init__", "AT & T 's 50 % of __init__"),
        ("👩‍👩‍👧👍🏽❤️🇩🇪🇫🇷 1️⃣ok", "👩‍👩‍👧 👍🏽 ❤️ 🇩🇪 🇫🇷 1️⃣ ok"),
        ("हिन्दी में cafe\u0301 می‌خواهم", "हिन्दी में cafe\u0301 می‌خواهم"),
    ],
)
def test_examples(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens.split()


@given(st.text() | st.text(alphabet="aZ9.'’,-@:/ \u0301\u200d\ufe0f👍🏽n\u00ad_!", max_size=40))
def test_no_character_is_lost_or_changed_and_no_token_is_empty(text: str) -> None:
    tokens = tokenize(text)
    assert "".join(tokens) == "".join(text.split())
    assert all(tokens)
    assert not any(char.isspace() for token in tokens for char in token)


@pytest.mark.parametrize(
    "part", ["a", "a.", "a'", "'s", "n't", "a@", "www.", "https://", "1.", "!", "👍\u200d", "\u0301"]
)
def test_hostile_repetition_ends(part: str) -> None:
    # Time that grows with the square of the length would take minutes to hours here.
    text = part * 200_000
    assert "".join(tokenize(text)) == text


def test_only_text_is_accepted() -> None:
    with pytest.raises(TypeError, match="expected a text .str., got list"):
        tokenize(["a", "b"])  # type: ignore[arg-type]
