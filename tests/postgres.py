"""A PostgreSQL server of the tests' own, on loopback; it goes with the tests."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

USER, PASSWORD = "metapo", "p@ss/w:rd?#%"  # what a URL must escape
PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
OWNERS = ("postgres", "nobody")


def programs() -> Path | None:
    """The folder of the server's programs; None where there are none."""
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else next(iter(PLACES[::-1]), None)


class Server:
    """One server in a folder; it may be stopped and started again."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self._folder, self._bin = folder, bin_folder
        self._owner: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.geteuid() == 0:  # the server refuses to run as root
            owner = next(name for name in OWNERS if _is_user(name))
            self._owner = {"user": owner}
            shutil.chown(folder, owner)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = [self._bin / "initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}"]
        self._run([*made, "-E", "UTF8", "--locale=C", "--no-sync"])

    def start(self) -> None:
        given = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        command = [self._bin / "postgres", "-D", self._folder / "data", *(part for g in given for part in ("-c", g))]
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._owner)
        ready = [self._bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "log").read_text())

    def stop(self) -> None:
        """At once: connections break, and what they had not committed is undone at the next start."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def url(self, database: str = "postgres", schema: str = "", password: str = PASSWORD) -> str:
        of_schema = f"?options=-csearch_path%3D{schema}" if schema else ""
        secret = quote(password, safe="")
        return f"postgresql+psycopg://{USER}:{secret}@127.0.0.1:{self.port}/{database}{of_schema}"

    def new_schema(self) -> str:
        """The URL of an empty schema."""
        schema = f"t{uuid4().hex}"
        self.execute(f"CREATE SCHEMA {schema}")
        return self.url(schema=schema)

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as db:
            db.execute(statement)  # type: ignore[call-overload]

    def _run(self, command: list[str | Path]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, check=False, **self._owner)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")


@contextmanager
def running() -> Iterator[Server]:
    """A server while it lasts. Raises LookupError where PostgreSQL is not installed."""
    bin_folder = programs()
    if bin_folder is None:
        raise LookupError("PostgreSQL's programs are not on this machine; on Debian: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="metapo-postgres-"))
    server = None
    try:
        server = Server(folder, bin_folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _is_user(name: str) -> bool:
    import pwd

    return any(user.pw_name == name for user in pwd.getpwall())
