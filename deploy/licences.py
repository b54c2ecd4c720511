"""``python -m deploy.licences``: write docs/licences.md, the licences of what is in the image; ``--check`` says where it drifted.

From the packages' own metadata, as they are installed for development at the versions that ``requirements/image.txt`` pins.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "licences.md"
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_ROW: Final = re.compile(r"^\| ([a-z0-9-]+) \| (.+) \|$", re.MULTILINE)
# May be used, linked and passed on with notices alone.
PERMISSIVE: Final = re.compile(
    r"\b(MIT|BSD|Apache|ISC|0BSD|Zlib|PSF|Python Software Foundation|Unlicense|CC0|MPL|Mozilla Public)", re.IGNORECASE
)
_HEAD: Final = """# Licences

deskline is under the [Apache License 2.0](../LICENSE). Written by `python -m deploy.licences` from the packages' own metadata: what the image installs
(`requirements/image.txt`). `make sbom` has the same with the texts and who needs whom (CycloneDX). What else comes with the code: the list of sensitive words
(`deskline/config/sensitive_list/LICENSES.txt`), the demonstration's conversations (`deskline/demo/data`), schemas in `tests/schemas`, which are not installed.

| package | licence |
|---|---|
"""


def pinned() -> set[str]:
    """Names of what the image installs, of every kind of platform."""
    return set(_PIN.findall((ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")))


def rows(text: str) -> dict[str, str]:
    """Package → licence, as a page has them."""
    return {name: said for name, said in _ROW.findall(text) if name != "package"}


def licence(package: Distribution) -> str:
    """The licence expression, or else the classifiers, or else the short text of the old field."""
    told = package.metadata
    if "License-Expression" in told:
        return told["License-Expression"]
    named = [
        value.rpartition(" :: ")[2]
        for value in told.get_all("Classifier") or []
        if value.startswith("License :: ") and value != "License :: OSI Approved"
    ]
    text = told["License"].strip() if "License" in told else ""
    return "; ".join(named) or (text if "\n" not in text else "") or "unknown"


def page(former: dict[str, str]) -> str:
    """Of a package that is not installed here (it is for another platform or Python) the former row stays."""
    found = {}
    for name in pinned():
        try:
            found[name] = licence(distribution(name))
        except PackageNotFoundError:
            if name in former:
                found[name] = former[name]
    return _HEAD + "".join(f"| {name} | {said} |\n" for name, said in sorted(found.items()))


def main(arguments: list[str]) -> int:
    former = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    text = page(rows(former))
    if arguments == ["--check"]:
        if former == text:
            return 0
        print("docs/licences.md has drifted; run: python -m deploy.licences", file=sys.stderr)  # noqa: T201
        return 1
    if arguments:
        print("usage: python -m deploy.licences [--check]", file=sys.stderr)  # noqa: T201
        return 2
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
