"""Random damage: flipped bytes, cut and joined files, nasty values in JSON, chunks of PNGs; a function of a number.

Sums of PNG chunks are made right again, so that what is behind them is reached.
"""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

DEEP = 100_000
# Values as they stand in a file; json.dumps could not write all of them.
NASTY = (
    "1e999", "-1e999", "1e308", "-1e308", "1e-320", "NaN", "Infinity", "-0.0", "0", "-1", "1", "2", "0.5", "12.0",
    "1000000000000", str(2**31), str(2**31 - 1), str(-(2**31)), str(2**32), str(2**53 + 1), str(2**63),
    str(2**63 - 1), str(2**64), str(2**70), str(-(2**70)), "9" * 4000, "9" * 5000, "true", "false", "null", "[]",
    "{}", "[[]]", "[{}]", "[null]", '{"id": 1}', '""', '" "', '"0"', '"1"', '"-7.5"', '"1e999"', '"nan"', r'"\ud800"',
    r'"a\udfffb"', r'"a\u0000b"', r'"a\nb\u001b[31m"', r'"\u202e\u2028"', '"../1.png"', '"/etc/passwd"', '"."',
    '".."', '"a/b/c/d/e.png"', '"' + "x" * 300 + '"', '"' + "y" * 100_000 + '"', "[" * 50 + "]" * 50,
    "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[1, 2, 3, 4]", "[1, 2, 3]", "[NaN, 0, 1, 1]",
    "[1e999, 0, 1, 1]", "[1e308, 0, 1e308, 1]", "[[1, 1, 5, 1, 5, 5]]", "[[1e300, 1, 5, 1, 5, 5]]",
    '{"size": [12, 16], "counts": [192]}', '{"size": [12, 16], "counts": [-1, 193]}',
    '{"size": [12, 16], "counts": "0"}', '{"size": [12, 16], "counts": "oooo"}',
    '{"size": [1000000, 1000000], "counts": [1000000000000]}', '{"dtype": "O", "values": [1]}',
    '{"dtype": "float64", "values": [NaN]}', '"int64"', '"cat"', '"sky"', '"coco_panoptic"', '"label_png"',
    '"pascal_context"',
)  # fmt: skip
OPCODES = (
    b"(", b")", b"]", b"}", b"a", b"e", b"s", b"u", b"t", b"l", b"d", b"0", b"1", b"2", b"N", b"\x85", b"\x86", b"\x88",
    b"K\x01", b"G\x7f\xf0\0\0\0\0\0\0", b"h\0", b"r\xff\xff\xff\x7f", b"cos\nsystem\n", b"R", b"b", b"P1\n", b"Q",
    b"\x81", b"\x82\x01", b"\x8a\xff" + b"\xff" * 255, b"I" + b"9" * 5000 + b"\n", b".", b"\x80\x05",
    b"\x95" + b"\xff" * 8,
)  # fmt: skip
_HERE = "<here>"
_PNG = b"\x89PNG\r\n\x1a\n"
_BYTES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 32, 127, 128, 129, 192, 254, 255)


def mutated(content: bytes, role: str, rng: np.random.Generator) -> bytes:
    """One to three changes of a file, of the kinds that fit its content."""
    for _ in range(int(rng.integers(1, 4))):
        ways = [flip, cut, splice, repeat, set_number]
        if content[:1] in (b"{", b"["):
            ways += [of_json] * 15 + [of_text] * 2
        elif content[:8] == _PNG:
            ways += [of_png] * 12
        elif content[:2] == b"\xff\xd8":
            ways += [of_jpeg] * 5
        elif role in ("lines", "split", "numbers"):
            ways += [of_lines] * 8
        elif role == "refs":
            ways += [of_pickle] * 8
        elif role == "xml":
            ways += [of_xml] * 12
        elif role in ("words_npz", "cache_npz"):
            ways += [of_npy] * 5
        content = ways[int(rng.integers(len(ways)))](content, rng)
    return content


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, max(1, len(changed)), int(rng.choice([1, 1, 2, 8]))).tolist():
        if changed:
            changed[place] = (
                int(rng.choice(_BYTES)) if rng.random() < 0.5 else changed[place] ^ 1 << int(rng.integers(8))
            )
    return bytes(changed)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def splice(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    middle = b"" if rng.random() < 0.5 else rng.integers(0, 256, min(end - start, 64), np.uint8).tobytes()
    return content[:start] + middle + content[end:]


def repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    return content[:end] + content[start:end] * int(rng.choice([1, 1, 2])) + content[end:]


def set_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A number of 2, 4 or 8 bytes at any place becomes an extreme one."""
    width = int(rng.choice([2, 4, 8]))
    if len(content) <= width:
        return content
    place = int(rng.integers(0, min(len(content), int(rng.choice([64, 512, 1 << 20]))) - width + 1))
    value = int(rng.choice([0, 1, 2**15, 2**16 - 1]) if width == 2 else rng.choice([0, 1, 2**20, 2**31 - 1, 2**32 - 1]))
    return content[:place] + value.to_bytes(width, str(rng.choice(["little", "big"]))) + content[place + width :]


def of_text(content: bytes, rng: np.random.Generator) -> bytes:
    """Text of JSON: a nasty value, or a sign, in any place."""
    place = int(rng.integers(0, len(content) + 1))
    pieces = NASTY if rng.random() < 0.5 else '{}[],:"\\\0 0-e'
    piece = pieces[int(rng.integers(len(pieces)))]
    return content[:place] + piece.encode() + content[place:]


def of_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes one value of a JSON file, found by a walk from its root; or deletes, doubles or exchanges members."""
    try:
        top = [json.loads(content)]
    except (ValueError, RecursionError):
        return of_text(content, rng)
    holder, key = top, 0
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < (0.97 if holder is top else 0.85):
        holder = holder[key]
        key = _any_key(holder, rng)
    raw, value = NASTY[int(rng.integers(len(NASTY)))], holder[key]
    way = rng.choice(["set", "set", "set", "set", "delete", "double", "swap", "rename", "type"])
    if way == "delete":
        del holder[key]
    elif way == "double" and isinstance(holder, list):
        holder.insert(int(rng.integers(len(holder) + 1)), value)
    elif way == "swap":
        other = _any_key(holder, rng)
        holder[key], holder[other] = holder[other], value
    elif way == "rename" and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    elif way == "type":
        forms = [[value], {"0": value}, str(value)[:99], f"{value}"[:99][::-1], bool(value)]
        holder[key] = (
            float(value)
            if type(value) is int and rng.random() < 0.5 and abs(value) < 2**1000
            else forms[int(rng.integers(5))]
        )
    else:
        holder[key] = _HERE
    try:
        return json.dumps(top[0]).replace(f'"{_HERE}"', raw).encode() if top else b""
    except (ValueError, RecursionError, OverflowError):  # What an earlier change put there cannot be written.
        return content


def _any_key(holder: Any, rng: np.random.Generator) -> Any:
    place = int(rng.integers(len(holder)))
    return list(holder)[place] if isinstance(holder, dict) else place


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks (kind, data) of a PNG, as far as they are whole."""
    found, place = [], 8
    while place + 12 <= len(content):
        length = struct.unpack_from(">I", content, place)[0]
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with right lengths and sums."""
    whole = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return _PNG + b"".join(whole)


def of_png(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes the header, the pixels or the order of the chunks of a PNG; the sums are right."""
    parts = chunks(content)
    if not parts:
        return flip(content, rng)
    way = rng.choice(["size", "depth", "colour", "header", "pixels", "drop", "double", "insert", "data", "palette"])
    header, place = bytearray(parts[0][1].ljust(13, b"\0")), int(rng.integers(len(parts)))
    sides = [0, 1, 2, 12, 15, 17, 4096, 65500, 2**20, 2**20 + 1, 2**31 - 1, 2**32 - 1]
    if way == "size":
        struct.pack_into(">I", header, int(rng.choice([0, 4])), int(rng.choice(sides)))
    elif way == "depth":
        header[8] = int(rng.choice([0, 1, 2, 4, 8, 16, 32, 255]))
    elif way == "colour":
        header[9] = int(rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 255]))
    elif way == "header":
        header[int(rng.integers(10, 13))] = int(rng.choice([0, 1, 2, 255]))
    if way in ("size", "depth", "colour", "header"):
        parts[0] = (parts[0][0], bytes(header))
    elif way == "pixels":
        rows = rng.integers(0, 4, int(rng.integers(0, 2000)), np.uint8).tobytes()
        parts = [(kind, zlib.compress(rows) if kind == b"IDAT" else data) for kind, data in parts]
    elif way == "drop":
        del parts[place]
    elif way == "double":
        parts.insert(int(rng.integers(len(parts) + 1)), parts[place])
    elif way in ("insert", "palette"):
        kinds = [
            b"PLTE",
            b"tRNS",
            b"gAMA",
            b"iCCP",
            b"eXIf",
            b"tEXt",
            b"zTXt",
            b"acTL",
            b"IEND",
            b"IDAT",
            b"sBIT",
            b"\0\0\0\0",
        ]
        kind = b"PLTE" if way == "palette" else kinds[int(rng.integers(len(kinds)))]
        data = rng.integers(0, 256, int(rng.choice([0, 1, 3, 6, 12, 768, 771])), np.uint8).tobytes()
        parts.insert(int(rng.integers(1, len(parts) + 1)), (kind, data))
    else:
        parts[place] = (parts[place][0], flip(parts[place][1], rng))
    return png(parts)


def of_jpeg(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes the length or the content of a segment of a JPEG, or cuts its coded pixels."""
    places = [i for i in range(len(content) - 9) if content[i] == 0xFF and 0xC0 <= content[i + 1] <= 0xFE]
    if not places:
        return flip(content, rng)
    place, changed = places[int(rng.integers(len(places)))], bytearray(content)
    changed[place + int(rng.integers(1, 10))] = int(rng.choice(_BYTES))
    return bytes(changed) if rng.random() < 0.8 else content[: place + int(rng.integers(2, 9))] + b"\xff\xd9"


def of_lines(content: bytes, rng: np.random.Generator) -> bytes:
    odd = [
        "",
        " ",
        "a",
        "a\0b",
        "../a",
        "/etc/passwd",
        "cat:what",
        ":",
        "sky:stuff:thing",
        "\x1b[2J",
        "\u2028",
        "x" * 100_000,
    ]
    lines = content.split(b"\n")
    line = odd[int(rng.integers(len(odd)))].encode() if rng.random() < 0.8 else b"\xff\xfe\x80"
    place = int(rng.integers(len(lines) + 1))
    return b"\n".join(lines[:place] + [line] + lines[place + int(rng.integers(2)) :])


def of_xml(content: bytes, rng: np.random.Generator) -> bytes:
    """Another text in an element, an element less or twice, or entities."""
    if rng.random() < 0.1:
        entities = "".join(f"<!ENTITY e{n + 1} '{f'&e{n};' * 10}'>" for n in range(9))
        return f"<!DOCTYPE a [<!ENTITY e0 'x'>{entities}]><annotation>&e9;</annotation>".encode()
    places = [match.span(1) for match in re.finditer(rb"<\w+>([^<]*)</\w+>", content)]
    if not places:
        return flip(content, rng)
    start, end = places[int(rng.integers(len(places)))]
    if rng.random() < 0.7:
        odd = NASTY[int(rng.integers(len(NASTY)))].strip('"') if rng.random() < 0.8 else "<b/>"
        return content[:start] + odd.encode("utf-8", "replace") + content[end:]
    begin, close = content.rfind(b"<", 0, start), content.find(b">", end) + 1
    return content[:begin] + content[begin:close] * int(rng.choice([0, 2])) + content[close:]


def of_pickle(content: bytes, rng: np.random.Generator) -> bytes:
    """Another instruction, one more, or another length of a text."""
    place = int(rng.integers(2, max(3, len(content))))
    new = OPCODES[int(rng.integers(len(OPCODES)))]
    if rng.random() < 0.4:
        return content[:place] + new + content[place:]
    texts = [m.start() for m in re.finditer(rb"[TXJ]", content)]
    if texts and rng.random() < 0.5:
        start = texts[int(rng.integers(len(texts)))] + 1
        return content[:start] + rng.bytes(int(rng.integers(1, 5))) + content[start + 4 :]
    return content[:place] + new + content[place + 1 :]


def of_npy(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes the header of an array within a .npz; the sums are right."""
    old = [b"'<f4'", b"'|i1'", b"'<U3'", b"(3, 8)", b"(3,)", b"False", b"()"]
    new = [b"'|O8'", b"'<f8'", b"'<U1'", b"(8, 3)", b"(9,)", b"True ", b"(-1,)", b"(99999999999,)", b"'<M8'", b"(0,)"]
    old, new = (pieces[int(rng.integers(len(pieces)))] for pieces in (old, new))
    return npz(content, lambda member: member.replace(old, new))


def npz(content: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """A .npz whose members are edited; the file itself if it is none."""
    file = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
            for name in before.namelist():
                after.writestr(name, edit(before.read(name)))
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error):
        return content
    return file.getvalue()
