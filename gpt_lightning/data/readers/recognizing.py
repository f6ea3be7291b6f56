"""What a file is really, by its first bytes: much that is no text happens to decode."""

from __future__ import annotations

import codecs

from gpt_lightning.errors import DataError

HEAD_BYTES = 4096

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS to the file, not the file; run git lfs pull",
    b"/annex/objects/": "a pointer of git-annex to the file, not the file; run git annex get",
}
_BINARY = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!\x1a\x07": "a rar archive; unpack it",
    b"%PDF-": "a PDF document; convert it to text",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF87a": "a picture",
    b"GIF89a": "a picture",
    b"\x7fELF": "a program",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"PAR1": "a parquet file; give it the suffix .parquet",
    b"ARROW1": "an arrow file; give it the suffix .arrow",
    b"MMIDIDX": "an index of Megatron; name its tokens with data.store",
    (20240520).to_bytes(4, "little"): "a shard of token ids; name its folder with data.store",
    (20240801).to_bytes(4, "little"): "a shard of token ids; name its folder with data.store",
}
_TAR_MAGIC, _TAR_OFFSET = b"ustar", 257
_BINARY_SHARE = 0.1
"""Of NUL among the first bytes; text has none, or a few where somebody separates with it."""
_ENDS = frozenset(b"\n ,.")
"""What every language writes; none of these numbers times 256 is a letter in use."""


def refuse_pointer(head: bytes, name: str) -> None:
    """Raise DataError for what stands where a file should be, whatever format its name states."""
    for magic, what in _POINTERS.items():
        if head.startswith(magic):
            raise _is_really(name, what, head)


def refuse_binary(head: bytes, name: str, encoding: str, *, is_wide: bool) -> None:
    """Raise DataError when a file that should be text is something else.

    Args:
        head: Its first bytes, up to ``HEAD_BYTES``.
        name: For the message.
        encoding: That it will be decoded with.
        is_wide: Whether characters of this encoding take two or four bytes, so that NUL among them is nothing unusual.
    """
    refuse_pointer(head, name)
    for magic, what in _BINARY.items():
        if head.startswith(magic):
            raise _is_really(name, what, head)
    if head[_TAR_OFFSET:].startswith(_TAR_MAGIC):
        raise _is_really(name, "a tar archive; unpack it", head)
    little, big = _count_pairs(head)
    if is_wide:
        _check_order(name, encoding, head, little, big)
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _is_really(name, "UTF-16; set data.encoding (--encoding) to utf-16", head)
    elif head.count(0) > _BINARY_SHARE * len(head):
        wide = {"utf-16-le": head[1::2].count(0), "utf-16-be": head[0::2].count(0)}
        likely = max(wide, key=lambda each: wide[each])
        if min(wide.values()) < wide[likely] / 4 and little + big > 0:
            raise _is_really(name, f"UTF-16; set data.encoding (--encoding) to {likely}", head)
        raise _is_really(name, "binary: NUL between its bytes", head)


def _count_pairs(head: bytes) -> tuple[int, int]:
    """How often an end of a word is written in UTF-16, little-endian and big-endian."""
    pairs = list(zip(head[0::2], head[1::2], strict=False))
    return sum(b == 0 and a in _ENDS for a, b in pairs), sum(a == 0 and b in _ENDS for a, b in pairs)


def _check_order(name: str, encoding: str, head: bytes, little: int, big: int) -> None:
    codec = codecs.lookup(encoding).name
    marked = codec == "utf-16" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    other = "utf-16-le" if codec == "utf-16-be" else "utf-16-be"
    if codec.startswith("utf-16") and not marked and (little > big if codec == "utf-16-be" else big > little):
        raise DataError(
            f"{name} is UTF-16 in the other order of bytes",
            got=encoding,
            allowed=other,
            fix=f"Set data.encoding (--encoding) to {other}.",
        )


def _is_really(name: str, what: str, head: bytes) -> DataError:
    return DataError(
        f"{name} is no text: it is {what}",
        got=head[:8],
        fix="Or leave it out with a glob such as folder/**/*.txt.",
    )
