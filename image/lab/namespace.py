"""A network and process namespace in which every program ends with its owner.

Process 1 of the namespace reads a pipe whose other end this process holds. When the pipe closes,
process 1 kills everything in the namespace and removes the namespace's folder. The kernel closes
the pipe however this process ends, so nothing remains after an exception, Ctrl-C or `kill -9`.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
"""With this variable Python compiles a program at each start; installed programs are compiled."""
_UNSHARE: Final = ("unshare", "--net", "--pid", "--fork", "--kill-child")
_USER_NAMESPACE: Final = ("--user", "--map-root-user")
_INIT: Final = 'read -r pid rest < /proc/self/stat; echo "$pid"; cat; kill -KILL -1; rm -rf -- "$1"'
_HTTP_GET: Final = (
    "import sys, urllib.request as u;"
    "sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=float(sys.argv[2])).read())"
)


class LabError(RuntimeError):
    """The lab cannot be created or used; the message names the cause and the way out."""


def stop(child: subprocess.Popen[bytes], *, timeout: float = 30.0) -> None:
    """Send SIGTERM to a program that `Namespace.popen` started, and wait until it has exited.

    The process of ``child`` is `nsenter`, which exits before the program that it forked.

    Raises:
        LabError: the program still runs after ``timeout`` seconds.
    """
    programs = []
    with suppress(FileNotFoundError):
        pids = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        for pid in map(int, pids):
            with suppress(ProcessLookupError):
                programs.append(os.pidfd_open(pid))
    try:
        child.terminate()
        child.wait(timeout)
        for program in programs:
            if not select.select([program], [], [], timeout)[0]:
                raise LabError(f"{child.args!r} still runs {timeout:.0f} s after SIGTERM; kill it.")
    finally:
        for program in programs:
            os.close(program)


def environment() -> dict[str, str]:
    """Return this process's environment, with /usr/sbin and /sbin added to PATH."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    kept = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
    return {**kept, "PATH": path}


class Namespace:
    """A network and process namespace, from `open` to `close`.

    Attributes:
        folder: a temporary folder that exists as long as the namespace.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self._init: subprocess.Popen[str] | None = None
        self._enter: tuple[str, ...] = ()
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Create the namespace and its folder.

        Without root, and where root may not create one, the namespace has a user namespace too.

        Raises:
            LabError: the kernel refuses; the message names the setting to change.
        """
        refusal = ""
        for user in ((), _USER_NAMESPACE) if os.geteuid() == 0 else (_USER_NAMESPACE,):
            self.folder = Path(tempfile.mkdtemp(prefix="phase-lab-"))
            self._init = subprocess.Popen(
                [*_UNSHARE, *user, "sh", "-c", _INIT, "lab", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment(),
                start_new_session=True,
            )
            first_line = next(iter(self._init.stdout or ()), "").strip()
            if first_line.isdigit():
                credentials = ("--user", "--preserve-credentials") if user else ()
                target = ("--target", first_line)
                self._enter = ("nsenter", *target, *credentials, "--net", "--pid", "--")
                return
            refusal = first_line
            self.close()
        raise LabError(_namespace_refused(refusal))

    def close(self) -> None:
        """Kill every process of the namespace and remove its folder; a second call does nothing."""
        if self._init is not None:
            try:
                self._init.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self._init.kill()
                self._init.communicate()
            self._init = None
        self._enter = ()
        for child in self._children:
            child.wait()
        self._children.clear()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argument list that runs `argv` in the namespace.

        Raises:
            LabError: the namespace is closed.
        """
        if not self._enter:
            raise LabError("The lab is closed; use it inside its `with` block.")
        return [*self._enter, "setpriv", "--pdeathsig", "TERM", "--", *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` in the namespace.

        When the returned process ends, the program gets SIGTERM. This holds from the moment at
        which the program itself runs; if the process ends earlier, the program runs until `close`.
        """
        child = subprocess.Popen(
            self.command(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**environment(), **(env or {})},
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def run(self, argv: Sequence[str], *, timeout: float = 30.0) -> str:
        """Run `argv` in the namespace, wait for its end, and return its standard output.

        Raises:
            LabError: the program fails, or takes longer than `timeout` seconds; the message holds
                the program's output.
        """
        try:
            done = subprocess.run(
                self.command(argv),
                check=False,
                capture_output=True,
                text=True,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                env=environment(),
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"`{' '.join(argv)}` did not end within {timeout:g} s.") from late
        if done.returncode:
            output = (done.stderr or done.stdout).strip()
            raise LabError(f"`{' '.join(argv)}` ended with {done.returncode}: {output}")
        return done.stdout

    def http_get(self, url: str, *, timeout: float = 10.0) -> bytes:
        """Send a GET request from inside the namespace and return the body.

        Raises:
            LabError: there is no successful response within `timeout` seconds.
        """
        done = subprocess.run(
            self.command([sys.executable, "-I", "-c", _HTTP_GET, url, str(timeout)]),
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise LabError(f"{url} did not answer: {last_line}")
        return done.stdout


def _namespace_refused(output: str) -> str:
    return (
        f"This user cannot create a network namespace ({output or 'unshare printed nothing'}). "
        "Run as root, or allow user namespaces: on Ubuntu `sysctl -w "
        "kernel.apparmor_restrict_unprivileged_userns=0`, elsewhere "
        "`sysctl -w user.max_user_namespaces=10000`."
    )
