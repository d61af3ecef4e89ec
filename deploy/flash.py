"""The host's end of a flash: one ssh connection, over which it sends the agent and then asks for one step after the
other. The agent is this project's own modules as text; the target's Python runs them from memory, so that before
`copy` nothing is written there."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from calib.errors import CheckFailed, InputError
from deploy.orin.archive import BLOCK, sha256_file
from deploy.orin.settings import BACK_STEPS, PROGRAM, STEPS, Settings

# Sent in this order; each imports only those before it, and the standard library.
AGENT = (
    "calib.errors",
    "calib.files",
    *(
        f"deploy.orin.{name}"
        for name in (
            "settings",
            "archive",
            "releases",
            "health",
            "device",
            "service",
            "guard",
            "preflight",
            "agent",
        )
    ),
)
NOISE_LINES = 200  # that a login shell may say first
Told = Callable[[str, str], None]


@dataclass(frozen=True)
class Target:
    """host: USER@HOST as ssh takes it. python: the interpreter there. config: for ssh's -F."""

    host: str
    port: int | None = None
    identity: Path | None = None
    python: str = "python3"
    config: Path | None = None

    def command(self, remote: str) -> list[str]:
        """The call of the system's ssh that runs `remote` there. It asks nothing and notices when the line is dead."""
        if self.host.startswith("-") or not self.host:
            raise InputError(f"host {self.host!r}", expected="USER@HOST", fix="name the target as ssh does")
        options = ["-T", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8"]
        options += ["-F", str(self.config)] if self.config else []
        options += ["-p", str(self.port)] if self.port else []
        options += ["-o", "IdentitiesOnly=yes", "-i", str(self.identity)] if self.identity else []
        return ["ssh", *options, self.host, remote]


def flash(target: Target, archive: Path, settings: Settings, tell: Told) -> None:
    """All steps, each told when it is done.

    Raises:
        InputError: the target cannot be reached, or cannot take the release.
        CheckFailed: a step failed; the message says what runs there now.
    """
    with connect(target, settings) as session:
        for step in STEPS:
            tell(step, session.copy(archive) if step == "copy" else session.do(step))


def roll_back(target: Target, settings: Settings, tell: Told) -> None:
    """Back to the release before the current one. Raises as `flash` does."""
    with connect(target, settings) as session:
        for step in BACK_STEPS:
            tell(step, session.do(step))


def look(target: Target, settings: Settings, tell: Told) -> None:
    """The preflight alone; changes nothing. Raises as `flash` does."""
    with connect(target, settings) as session:
        tell("preflight", session.do("preflight"))


def agent_program() -> bytes:
    """Python text that makes the agent's modules out of nothing and runs it on its standard input."""
    sources = {name: _source(name) for name in AGENT}
    return f"""
import sys, types
for package in ("calib", "deploy", "deploy.orin"):
    sys.modules[package] = types.ModuleType(package)
for name, text in {sources!r}.items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
sys.exit(sys.modules["deploy.orin.agent"].main(sys.stdin.buffer))
""".encode()


@contextmanager
def connect(target: Target, settings: Settings) -> Iterator[Session]:
    """An agent on the target. Its end of input is its end; what it had not confirmed by then, it takes back.

    Raises:
        InputError: the target cannot be reached, or has no such Python.
    """
    program = agent_program()
    # Without "", nothing in the login's home is taken for a module of Python's.
    start = f"import sys; sys.path.remove(''); exec(sys.stdin.buffer.read({len(program)}))"
    remote = f"exec {shlex.quote(target.python)} -u -c {shlex.quote(start)}"
    with tempfile.TemporaryFile() as said:
        try:
            ssh = subprocess.Popen(target.command(remote), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
        except FileNotFoundError as error:
            raise InputError("no ssh on this machine", expected="OpenSSH's client", fix="install it") from error
        assert ssh.stdin is not None and ssh.stdout is not None
        try:
            session = Session(target, ssh.stdin, ssh.stdout, said)
            session.greet(program + json.dumps(asdict(settings)).encode() + b"\n")
            yield session
        finally:
            with suppress(BrokenPipeError):
                ssh.stdin.close()
            ssh.wait()
            ssh.stdout.close()


class Session:
    """Asks an agent. said: what ssh and the target complain about."""

    def __init__(self, target: Target, to: IO[bytes], answers: IO[bytes], said: IO[bytes]) -> None:
        self._target, self._to, self._answers, self._said = target, to, answers, said

    def greet(self, program: bytes) -> None:
        """Sends the program with its settings and waits until it runs."""
        self._send(program)
        for _ in range(NOISE_LINES):
            line = self._answers.readline()
            if not line:
                break
            if line.startswith(f'{{"{PROGRAM}"'.encode()):
                return
        raise InputError(
            f"no agent on {self._target.host}: {self._complaint()}",
            expected="a login by key without questions, and Python 3.10 or later there",
            fix=f"try `{shlex.join(self._target.command(self._target.python + ' --version'))}`",
        )

    def do(self, step: str) -> str:
        """What the target tells about the step. Raises what it failed with."""
        self._send(json.dumps({"step": step}).encode() + b"\n")
        return self._result(self._answer(step), step)

    def copy(self, archive: Path) -> str:
        """Sends what the target does not have yet."""
        self._send(b'{"step": "copy"}\n')
        answer = self._answer("copy")
        if "have" not in answer:
            return self._result(answer, "copy")
        have = int(answer["have"])
        start = have if sha256_file(archive, have) == answer["sha256"] else 0
        self._send(json.dumps({"from": start}).encode() + b"\n")
        with archive.open("rb") as file:
            file.seek(start)
            while block := file.read(BLOCK):
                self._send(block)
        return self._result(self._answer("copy"), "copy")

    def _result(self, answer: dict[str, Any], step: str) -> str:
        if "failed" not in answer:
            return str(answer["told"])
        told = f"{step} on {self._target.host}: {answer['told']}; {answer['then']}"
        if "fix" in answer:
            raise InputError(told, expected=answer["expected"], fix=answer["fix"])
        raise CheckFailed(told)

    def _answer(self, step: str) -> dict[str, Any]:
        line = self._answers.readline()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise CheckFailed(
                f"{step}: {self._target.host} is gone ({self._complaint() or 'no reason told'}). What was not "
                "confirmed is taken back there; flash again"
            ) from error
        return answer

    def _send(self, content: bytes) -> None:
        # An agent that has ended reads no more; its last words, or the lack of them, are read next.
        with suppress(BrokenPipeError):
            self._to.write(content)
            self._to.flush()

    def _complaint(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()[-2000:]


def _source(name: str) -> str:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None  # they are imported or lie beside what is
    return Path(spec.origin).read_text(encoding="utf-8")
