"""CLIP's tokenizer: pieces of words as bytes, joined by 48,894 learned merges; windows of 77 tokens.

The merges are OpenAI's own file (see NOTICE). A text is cleaned as OpenAI's code cleans it, except for what that code
leaves to the package ftfy: of its repairs only the composition of accents (NFC) is done here. Names in plain UTF-8
need no other; text that was decoded wrongly ("cafÃ©") and curly quotes are taken as they come.
"""

import functools
import gzip
import html
import importlib.resources
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

CONTEXT = 77  # Tokens the text tower reads, start and end included.
START, END = 49406, 49407
VOCABULARY = 49408

_MERGES = VOCABULARY - 2 * 256 - 2  # The file holds more; CLIP was trained with these.
_SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END}
# Tried first wherever a piece may begin; `IGNORECASE` because a few letters survive lower() in another case.
_FIXED = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d", re.IGNORECASE)
# Then a run of letters, one digit, or a run of anything else; matched against the kinds of the characters.
_RUN = re.compile("L+|N|O+")


def tokenize(texts: Sequence[str]) -> np.ndarray:
    """Texts -> int32[K, 77]: start, the tokens of the text, end, then zeros; a longer text loses its tail.

    Whatever comes after the end token is never looked at: the tower attends backwards only.
    """
    tokens = np.zeros((len(texts), CONTEXT), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        ids = [START, *encode(text)[: CONTEXT - 2], END]
        row[: len(ids)] = ids
    return tokens


def encode(text: str) -> list[int]:
    """The tokens of a text, without start and end."""
    return [token for piece in _pieces(_clean(text)) for token in _merge(piece)]


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", html.unescape(html.unescape(text)))
    return " ".join(text.split()).lower()


def _pieces(text: str) -> list[str]:
    """Splits at blanks and where the kind of character changes: "kids' 747s" -> kids ' 7 4 7 s."""
    kinds = "".join(map(_kind, text))
    pieces, at = [], 0
    while at < len(text):
        found = _FIXED.match(text, at) or _RUN.match(kinds, at)
        if found:
            pieces.append(text[at : found.end()])
        at = found.end() if found else at + 1
    return pieces


def _kind(character: str) -> str:
    """L: letter, N: number, O: other, of Unicode; " " for a blank. Python's \\w and \\d draw other lines."""
    if character.isspace():
        return " "
    major = unicodedata.category(character)[0]
    return major if major in "LN" else "O"


@functools.lru_cache(maxsize=2**16)
def _merge(piece: str) -> tuple[int, ...]:
    """The tokens of one piece: its bytes, joined pair by pair, the pair learned first before all others."""
    if piece in _SPECIAL:
        return (_SPECIAL[piece],)
    letters, ranks, ids = _tables()
    parts = [letters[byte] for byte in piece.encode("utf-8", "replace")]
    parts[-1] += "</w>"
    while len(parts) > 1:
        best = min(zip(parts, parts[1:], strict=False), key=lambda pair: ranks.get(pair, _MERGES))
        if best not in ranks:
            break
        joined, at = [], 0
        while at < len(parts):
            take = 2 if tuple(parts[at : at + 2]) == best else 1
            joined.append("".join(parts[at : at + take]))
            at += take
        parts = joined
    return tuple(ids[part] for part in parts)


@functools.cache
def _tables() -> tuple[dict[int, str], dict[tuple[str, ...], int], dict[str, int]]:
    """Byte -> its letter, pair -> rank of its merge, part -> token; read from the package on first use."""
    letters = _byte_letters()
    with (importlib.resources.files("dataseg_jax.text.clip") / "bpe_simple_vocab_16e6.txt.gz").open("rb") as file:
        lines = gzip.decompress(file.read()).decode("utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines[1 : _MERGES + 1]]  # The first line is a version.
    single = list(letters.values())
    parts = [*single, *(letter + "</w>" for letter in single), *("".join(pair) for pair in merges), *_SPECIAL]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    return letters, ranks, {part: token for token, part in enumerate(parts)}


def _byte_letters() -> dict[int, str]:
    """A visible letter for each byte, in the order of the tokens: itself where it prints, else one from 256 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
