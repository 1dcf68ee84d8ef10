"""
A PostgreSQL server for tests, in a directory of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs
import psycopg

from chaos.process import stable_port
from chaos.suites import PATIENCE, wait_until
from eventsvc.embedded import NoServer

REMEDY: Final = "no PostgreSQL on this machine: apt-get install postgresql, or put initdb and postgres on the PATH"


@cache
def find_programs() -> Path:
    """
    Return the directory of the programs of PostgreSQL: one on the PATH, else the newest of Debian's.

    @raise NoServer: there is none; the text is the remedy.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for directory in [*map(Path, os.environ["PATH"].split(os.pathsep)), *versions]:
        if os.access(directory / "initdb", os.X_OK) and os.access(directory / "postgres", os.X_OK):
            return directory
    raise NoServer(REMEDY)


def _user() -> str | None:
    """The user to run the server as: root may not."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


@attrs.define
class Postgres:
    """
    A server on a port of its own, that can be stopped and killed; it trusts all of this machine.

    @ivar options: the server's settings, each time it starts.
    """

    directory: Path
    options: Sequence[str] = ()
    port: int = attrs.field(factory=stable_port)
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    def create(self) -> None:
        """Create its files."""
        user = _user()
        if user is not None:
            shutil.chown(self.directory, user)
        command = [
            str(find_programs() / "initdb"),
            "--no-sync",
            "--auth=trust",
            "--username=eventsvc",
            "--encoding=UTF8",
        ]
        subprocess.run(
            [*command, "--locale=C", f"--pgdata={self.directory}/data"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            user=user,
            timeout=PATIENCE,
        )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        # it ends with this process, also if a test that takes too long ends that
        lifeline = ["setpriv", "--pdeathsig", "QUIT", "--"] if shutil.which("setpriv") else []
        program = str(find_programs() / "postgres")
        command = [*lifeline, program, "-D", f"{self.directory}/data", "-k", "", "-p", f"{self.port}"]
        settings = ("listen_addresses=127.0.0.1", *self.options)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *(part for setting in settings for part in ("-c", setting))],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                user=_user(),
            )
        wait_until(self.is_up)

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            self.query("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def end(self, number: int = signal.SIGQUIT) -> None:
        """End it, and wait until it is gone; as a crash, unless C{number} is C{SIGINT}."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://eventsvc@127.0.0.1:{self.port}/{database}"

    def query(self, statement: str, *parameters: object, database: str = "postgres") -> list[Any]:
        """Run a statement on a connection of its own, and return its rows."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """Create a database, and return its name."""
        self.databases += 1
        name = f"test{self.databases}"
        self.query(f"CREATE DATABASE {name}")
        return name


@contextmanager
def running_postgres(*options: str, directory: str | None = None) -> Iterator[Postgres]:
    """
    Run a server, and remove its files at the end.

    @param directory: where its files are; without, in the system's directory for such.
    @raise NoServer: there is no PostgreSQL on this machine.
    """
    find_programs()
    # not in the directory of pytest: only its user may enter that
    server = Postgres(Path(tempfile.mkdtemp(prefix="eventsvc-postgres-", dir=directory)), options)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.end()
        shutil.rmtree(server.directory)
