"""Writing a new shop's files: checked as a whole directory first, and only then put in their place."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deskline.config.base import DEFAULT_SHOP
from deskline.config.loading import Configuration, load_directory
from deskline.errors import UsageError
from deskline.stack.stack import sample_config


def there(directory: Path, shop: str, files: Mapping[str, str]) -> list[Path]:
    """Files that would be overwritten."""
    return [path for name in files if (path := directory / shop / name).exists()]


def write(directory: Path, shop: str, files: Mapping[str, str]) -> Configuration:
    """Put the shop's files into the directory; one without ``_default`` gets the shipped one.

    What ``deskline config check`` would refuse is refused here (``ConfigurationError``), and nothing has changed then. Returns what the
    directory says now.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="deskline-shop-") as folder:
            draft = Path(folder) / "config"
            if directory.is_dir():
                shutil.copytree(directory, draft, ignore=shutil.ignore_patterns(".*"))
            else:
                draft.mkdir()
            fresh = not (draft / DEFAULT_SHOP).is_dir()
            if fresh:
                shutil.copytree(sample_config() / DEFAULT_SHOP, draft / DEFAULT_SHOP)
            (draft / shop).mkdir(exist_ok=True)
            for name, text in files.items():
                (draft / shop / name).write_text(text, encoding="utf-8")
            configuration = load_directory(draft)
            directory.mkdir(parents=True, exist_ok=True)
            if fresh:
                shutil.copytree(draft / DEFAULT_SHOP, directory / DEFAULT_SHOP)
            (directory / shop).mkdir(exist_ok=True)
            for name, text in files.items():
                new = directory / shop / f".{name}.new"
                new.write_text(text, encoding="utf-8")
                os.replace(new, directory / shop / name)  # noqa: PTH105 - one step, whoever reads meanwhile
            return configuration
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
