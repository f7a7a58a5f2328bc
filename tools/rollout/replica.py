"""One `gemmule serve` as a process of its own: started, probed, told to end as a kubelet does. Knows no proxy."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

PROBE_S = 0.2


class ReplicaFailed(Exception):
    """A replica ended where it should not, or not where it should."""


class Replica:
    """`log` holds what it says. Its URL is known once it listens."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log
        self.url = ""

    @classmethod
    async def start(cls, model: str, flags: Sequence[str], log: Path) -> "Replica":
        with log.open("wb") as out:
            command = [sys.executable, "-m", "service.cli", "serve", model, "--port", "0", "--grpc-port", "off", *flags]
            process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out, env=dict(os.environ))
        return cls(process, log)

    async def wait_until_ready(self, within_s: float) -> None:
        """Polls /health/ready, as the startup and readiness probes do."""
        async with asyncio.timeout(within_s), httpx.AsyncClient(timeout=5.0) as http:
            while True:
                self._must_run()
                self.url = self.url or self._announced()
                try:
                    if self.url and (await http.get(f"{self.url}/health/ready")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(PROBE_S)

    async def wait_until_listening(self, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not self.url:
                self._must_run()
                self.url = self._announced()
                await asyncio.sleep(PROBE_S)

    async def end(self, within_s: float) -> int:
        """SIGTERM, and SIGKILL after the grace period. Returns the exit status."""
        self._must_run()
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            raise ReplicaFailed(f"did not end within {within_s:g} s of SIGTERM; {self.log}") from None

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def _announced(self) -> str:
        for line in self.log.read_text().splitlines():
            if line.startswith("listening on "):
                return line.removeprefix("listening on ").split(",")[0].split(" ")[0]
        return ""

    def _must_run(self) -> None:
        if self._process.returncode is not None:
            raise ReplicaFailed(f"ended with {self._process.returncode}:\n{self.log.read_text()}")
