from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.routing.tokens import estimate_tokens

FOLDER = Path(__file__).parent
# Counted once by cl100k_base and o200k_base (package bpe-openai 0.1.4) and by the table in
# the package anthropic-tokenizer 0.1.0.
COUNTED = {
    "golden_prompt.txt": (543, 537, 514),
    "golden_compact_json.txt": (545, 541, 555),
}


@pytest.mark.parametrize("name", COUNTED)
def test_prompts_are_within_15_percent_of_three_tokenizers(name):
    estimate = estimate_tokens((FOLDER / name).read_text("utf-8"))
    for counted in COUNTED[name]:
        assert 0.85 * counted < estimate < 1.15 * counted


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("agent", 1),
        ("reasoning", 2),
        ("0.89", 3),
        ("math: 0.89", 6),
        ("\n\n", 1),
        ("\t\t", 2),
        ("模型", 3),
    ],
)
def test_pieces(text, tokens):
    assert estimate_tokens(text) == tokens


@given(st.text(st.characters()), st.text(st.characters()))
def test_longer_texts_never_have_fewer(left, right):
    assert estimate_tokens(left + "\n" + right) >= max(map(estimate_tokens, (left, right)))


@pytest.mark.parametrize("text", [None, b"bytes", 3])
def test_not_a_text(text):
    with pytest.raises(InputError, match="`text` must be a text, got"):
        estimate_tokens(text)
