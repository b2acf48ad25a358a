"""Where does the bank of the stories run, and how is it asked? One `demarc up` and its run.json."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e.support import disguises, processes, wire
from e2e.support.recording import Recording
from e2e.support.waiting import until
from e2e.support.wire import Answer, Headers
from openai import DefaultHttpxClient, OpenAI

from demarc.api.cluster import DATA_RESIDENCY, ROUTING_POLICY
from demarc.app.running import Running

EXAMPLE = Path(__file__).parents[2] / "examples" / "bank"
DEMARC = Path(sys.executable).with_name("demarc")
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"

COPILOT = "retail/copilot"
"""May not leave: no registration."""
FAQ = "retail/branch-faq"
"""May leave with ordinary questions: registered below the floor."""
MARKETING = "retail/marketing"
AML = "risk/aml-triage"
ASSISTANT = "hr/assistant"

INSIDE = "shanghai-dc"
OUTSIDE = "cloud-sg"

UP_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as run.json tells it; `pids` are by container, of those that run."""

    site: str
    role: str
    name: str
    address: str
    ready: bool
    pids: Mapping[str, int]
    restarts: Mapping[str, int]


class Bank:
    """A copy of the example bank, in networks of its own."""

    def __init__(self, home: Path, *, networks: tuple[int, int]) -> None:
        """Copy the example; nothing runs.

        Args:
            home: an empty folder.
            networks: second octet of the two sites' pod networks.
        """
        self.folder = home / "bank"
        self.state = home / "s"
        self._clients: list[OpenAI] = []
        shutil.copytree(EXAMPLE, self.folder, ignore=shutil.ignore_patterns("volumes"))
        self.edit("10-sites.yaml", "10.244.0.0", f"10.{networks[0]}.0.0")
        self.edit("10-sites.yaml", "10.245.0.0", f"10.{networks[1]}.0.0")

    def shrink(self) -> None:
        """Leave out what stands on both sides, and with it two of four engines."""
        models = (self.folder / "20-models.yaml").read_text("utf-8").split("\n---\n")
        kept = [text for text in models if "name: glm-4-9b" not in text]
        self.write("20-models.yaml", "\n---\n".join(kept))

    # -- life --------------------------------------------------------------------------------

    def up(self) -> str:
        """Start it in the background; what `demarc up --detach` said."""
        models = EXAMPLE / "volumes" / "models"
        return self.demarc(
            "up",
            str(self.folder),
            "--detach",
            "--timeout",
            str(UP_SECONDS),
            "--volume",
            f"models={models}",
            seconds=UP_SECONDS + 60,
        ).stdout

    def down(self) -> str:
        """End it; what `demarc down` said."""
        return self.demarc("down", seconds=120).stdout

    def end(self) -> None:
        """End it whatever state it is in, and see that it left nothing.

        Raises:
            AssertionError: processes were left; they are ended first.
        """
        self.demarc("down", check=False, seconds=120)
        left = processes.of(self.state)
        for pid in left:
            os.kill(pid, 9)
        assert not left, f"processes were left: {left}"

    def demarc(
        self, *words: str, check: bool = True, seconds: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this bank's state.

        Raises:
            AssertionError: it failed, and `check` was asked for.
        """
        command = words[0]
        stated = () if command in {"validate", "render"} else ("--state", str(self.state))
        done = subprocess.run(
            [str(DEMARC), command, *stated, *words[1:]],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=seconds,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"demarc {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    # -- what it says of itself --------------------------------------------------------------

    @property
    def run(self) -> Mapping[str, Any]:
        """run.json as it is now."""
        read: Mapping[str, Any] = json.loads((self.state / "run.json").read_text("utf-8"))
        return read

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the gateway."""
        parts = urlsplit(str(self.run["gateway"]))
        return str(parts.hostname), int(parts.port or 443)

    @property
    def recording(self) -> Recording:
        """What the public site received."""
        (path,) = (site["recording"] for site in self.run["sites"] if site["recording"])
        return Recording(Path(path))

    def pods(self, role: str = "", *, site: str = "", name: str = "") -> tuple[Pod, ...]:
        """The pods of a role, a site, a name that begins so."""
        return tuple(
            Pod(
                row["site"],
                row["role"],
                row["name"],
                row["address"],
                row["ready"],
                {each["name"]: each["pid"] for each in row["containers"] if each["pid"]},
                {each["name"]: each["restarts"] for each in row["containers"]},
            )
            for row in self.run["pods"]
            if role in {"", row["role"]} and site in {"", row["site"]}
            if row["name"].startswith(name)
        )

    def pod(self, role: str, *, site: str = "", name: str = "") -> Pod:
        """The one pod that fits."""
        found = self.pods(role, site=site, name=name)
        assert len(found) == 1, f"{len(found)} pods: {[pod.name for pod in found]}"
        return found[0]

    def log(self) -> str:
        """What `demarc up` printed."""
        return (self.state / "up.log").read_text("utf-8")

    # -- clients -----------------------------------------------------------------------------

    def credential_file(self, app: str, client: str = "") -> Path:
        """Where the credential of an app lies; `client` picks one of several."""
        tenant, _, name = app.partition("/")
        found = [
            row["credentials"]
            for row in self.run["apps"]
            if (row["tenant"], row["app"]) == (tenant, name) and client in {"", row["client"]}
        ]
        assert found, f"{app} has no credential {client}"
        return Path(found[0])

    def credential(self, app: str, client: str = "") -> str:
        """The bearer credential of an app."""
        return self.credential_file(app, client).read_text("utf-8")

    def context(self) -> ssl.SSLContext:
        """TLS that knows the bank's authority and nothing else."""
        return ssl.create_default_context(cafile=str(self.run["ca"]))

    def openai(self, app: str, *, retries: int = 0) -> OpenAI:
        """The official client, as an app."""
        client = OpenAI(
            base_url=str(self.run["gateway"]),
            api_key=self.credential(app),
            max_retries=retries,
            http_client=DefaultHttpxClient(verify=self.context(), trust_env=False),
        )
        self._clients.append(client)
        return client

    def hang_up(self) -> None:
        """Close every official client."""
        while self._clients:
            self._clients.pop().close()

    def send(
        self,
        body: bytes,
        *,
        app: str = FAQ,
        method: str = "POST",
        path: str = CHAT,
        more: Headers = (),
        without: Sequence[str] = (),
    ) -> Answer:
        """Send bytes with the usual headers, `more` of them, and not those in `without`."""
        host, port = self.address
        usual = (
            ("host", f"{host}:{port}"),
            ("connection", "close"),
            *((("authorization", f"Bearer {self.credential(app)}"),) if app else ()),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        )
        lines = tuple((name, value) for name, value in usual if name not in without)
        data = wire.head(method, path, (*lines, *more)) + body
        return wire.exchange((host, port), self.context(), data)

    def chat(
        self, content: str = "", *, app: str = FAQ, model: str = "auto", **fields: Any
    ) -> Answer:
        """Ask for a chat completion of at most four tokens."""
        said = disguises.say(content) if content else {}
        body = {"model": model, "max_tokens": 4, **said, **fields}
        return self.send(json.dumps(body).encode(), app=app)

    # -- changes -----------------------------------------------------------------------------

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text in a file, as an editor does: a new file takes the old one's place."""
        path = self.folder / file
        before = path.read_text("utf-8")
        assert old in before, f"{file} has no `{old}`"
        self.write(file, before.replace(old, new))

    def write(self, file: str, text: str) -> None:
        """Write a file whole, by rename."""
        beside = self.folder / f".{file}.new"
        beside.write_text(text, "utf-8")
        beside.replace(self.folder / file)

    def texts(self) -> Mapping[str, str]:
        """The folder's files."""
        return {path.name: path.read_text("utf-8") for path in self.folder.glob("*.yaml")}

    def put_back(self, texts: Mapping[str, str]) -> None:
        """Make the folder hold just these files again, at once, and wait until that is in force."""
        if self.texts() == texts:
            return
        since = len(self.log())
        beside, away = self.folder.with_name("next"), self.folder.with_name("away")
        shutil.copytree(self.folder, beside, symlinks=True)
        for path in beside.glob("*.yaml"):
            path.unlink()
        for name, text in texts.items():
            (beside / name).write_text(text, "utf-8")
        self.folder.rename(away)
        beside.rename(self.folder)
        shutil.rmtree(away)
        until(lambda: f"applied {self.folder}" in self.log()[since:], "the folder is applied")
        self.wait_until_in_force()

    def wait_until_in_force(self) -> None:
        """Until every agent runs a policy that holds every object as it is now."""

        def in_force() -> bool:
            running = Running(self.state)
            for kind in (DATA_RESIDENCY, ROUTING_POLICY):
                for item in running.list(kind, ""):
                    rows = {row["type"]: row for row in item["status"]["conditions"]}
                    programmed, metadata = rows["Programmed"], item["metadata"]
                    assert metadata["generation"] == programmed["observedGeneration"]
                    assert "True" == programmed["status"], metadata["name"]
            return True

        until(in_force, "the policy is in force")

    def wait_until_ready(self, seconds: float = 120) -> None:
        """Until every pod is ready and every model serves."""

        def ready() -> bool:
            waiting = [pod.name for pod in self.pods() if not pod.ready]
            assert not waiting, f"not ready: {waiting}"
            return True

        until(ready, "every pod is ready", seconds=seconds)
