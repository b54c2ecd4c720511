"""Where copies are kept beside the database: a directory, or an object store by its URL.

``s3://bucket/path`` is pyarrow's own client; a store that is not Amazon's is named as it wants it:
``s3://bucket/path?endpoint_override=https://minio.example.org&region=eu``, keys by the environment (``AWS_ACCESS_KEY_ID``, …).
Any other scheme is fsspec's.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from deskline.errors import TransientError, UsageError


class Place(Protocol):
    """Files by name (``a/b/c``). What is written is there whole or not at all."""

    def names(self, folder: str, suffix: str) -> list[str]:
        """Below ``folder``, at any depth, sorted, relative to the place."""

    def read(self, name: str) -> bytes:
        """Raises ``UsageError`` where there is none."""

    def write(self, name: str, data: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


def place(where: str) -> Place:
    """Raises ``UsageError`` where it needs something that is not installed."""
    return _Store(where) if "://" in where else _Directory(Path(where))


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str, suffix: str) -> list[str]:
        return sorted(path.relative_to(self._root).as_posix() for path in (self._root / folder).rglob(f"*{suffix}"))

    def read(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise UsageError(f"{self._root / name}: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_name(path.name + ".half")
            with half.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
        except OSError as error:
            raise TransientError(f"{path} cannot be written: {error.strerror}") from error

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)


class _Store:
    """Object stores write whole objects."""

    def __init__(self, url: str) -> None:
        self._given = url
        parts = urlsplit(url)
        # As it may be shown: a URL can hold keys.
        self._url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        self._arrow = parts.scheme == "s3"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            if self._arrow:
                from fsspec.implementations.arrow import ArrowFSWrapper  # noqa: PLC0415
                from pyarrow.fs import FileSystem  # noqa: PLC0415 - only those who use an object store pay for it

                with self._answers():
                    store, root = FileSystem.from_uri(self._given)
                return ArrowFSWrapper(store), root
            import fsspec  # noqa: PLC0415

            return fsspec.core.url_to_fs(self._given.rstrip("/"))  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            raise UsageError(
                f'{self._url}: {error}; pip install "deskline[cold]" and the store\'s own package'
            ) from error

    def _path(self, name: str) -> str:
        return f"{self._opened[1].rstrip('/')}/{name}".rstrip("/")

    def names(self, folder: str, suffix: str) -> list[str]:
        with self._answers():
            store, root = self._opened
            store.invalidate_cache()
            length = len(root.rstrip("/")) + 1
            return sorted(path[length:] for path in store.find(self._path(folder)) if path.endswith(suffix))

    def read(self, name: str) -> bytes:
        with self._answers():
            try:
                return bytes(self._opened[0].cat_file(self._path(name)))
            except FileNotFoundError as error:
                raise UsageError(f"{self._url}/{name} does not exist") from error

    def write(self, name: str, data: bytes) -> None:
        with self._answers():
            if not self._arrow:
                self._opened[0].makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._opened[0].pipe_file(self._path(name), data)

    def remove(self, name: str) -> None:
        with self._answers(), contextlib.suppress(FileNotFoundError):
            self._opened[0].rm_file(self._path(name))

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise TransientError(f"{self._url} does not answer: {error}") from error
