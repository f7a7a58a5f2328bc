"""`python -m tools.rollout`: a rolling restart of 2 replicas behind a proxy under load must lose no request.

What Kubernetes does with deploy/kubernetes/base is done here step by step, with its settings: maxSurge 1 and
maxUnavailable 0, readiness before traffic, endpoints that forget a pod some time after it was told to end, the preStop
sleep, SIGTERM, the drain. `--without-pre-stop` and `--without-readiness` show that each of them is needed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtest.conversation import Conversation
from loadtest.http_client import HttpClient
from loadtest.load import Load, Run
from loadtest.prompts import Lengths, Synthetic
from loadtest.record import Record
from loadtest.summary import summarise
from tools.rollout.proxy import Proxy
from tools.rollout.replica import Replica, ReplicaFailed

NUM_REPLICAS = 2
MAX_UNAVAILABLE = 1  # of the PodDisruptionBudget
START_S, GRACE_S = 300.0, 60.0


@dataclass
class Rollout:
    """Replaces every replica; `least_ready` is the fewest endpoints that there ever were."""

    options: argparse.Namespace
    proxy: Proxy
    folder: Path
    replicas: list[Replica] = field(default_factory=list)
    num_started: int = 0
    least_ready: int = NUM_REPLICAS

    async def start_one(self) -> Replica:
        self.num_started += 1
        flags = ["--threads", "1", "--ctx", "1024", "--max-batch", "8", "--drain-s", "40"]
        replica = await Replica.start(self.options.model, flags, self.folder / f"replica-{self.num_started}.log")
        self.replicas.append(replica)
        if self.options.without_readiness:
            await replica.wait_until_listening(START_S)
        else:
            await replica.wait_until_ready(START_S)
        self.proxy.endpoints.append(replica.url)
        say(f"replica {self.num_started} takes requests")
        return replica

    async def end_one(self, replica: Replica) -> None:
        """Endpoints forget it after a while; meanwhile it sleeps in preStop, and only then gets SIGTERM."""
        forgetting = asyncio.ensure_future(self.forget(replica))
        if not self.options.without_pre_stop:
            await asyncio.sleep(self.options.pre_stop)
        status = await replica.end(GRACE_S)
        await forgetting
        self.replicas.remove(replica)
        if status != 0:
            raise ReplicaFailed(f"ended with {status}; {replica.log}")
        say(f"a replica drained and ended with 0; {len(self.proxy.endpoints)} endpoints")

    async def forget(self, replica: Replica) -> None:
        await asyncio.sleep(self.options.propagation)
        self.proxy.endpoints.remove(replica.url)
        self.least_ready = min(self.least_ready, len(self.proxy.endpoints))

    async def run(self) -> None:
        for old in list(self.replicas):
            await self.start_one()
            await self.end_one(old)

    async def stop(self) -> None:
        for replica in self.replicas:
            replica.kill()


async def load_until(done: asyncio.Event, url: str, concurrency: int) -> list[Record]:
    """A closed loop for as long as the rollout takes."""
    clock = asyncio.get_running_loop().time
    client = HttpClient(url, clock=clock, body={"temperature": 0.0, "ignore_eos": True}, timeout_s=120.0)
    source = Synthetic(Lengths(32, 24, 0.5), token_ids=(1000, 30000))
    conversations = source.conversations(np.random.default_rng(0))

    def until_done() -> Iterator[Conversation]:
        while not done.is_set():
            yield next(conversations)

    try:
        await client.ready(60.0)
        load = Load(10**9, concurrency=concurrency)
        return await Run(client, clock).run(load, until_done(), np.random.default_rng(0))
    finally:
        await client.close()


async def rehearse(options: argparse.Namespace, folder: Path) -> int:
    """The exit status: 0 when nothing was lost and there were always enough replicas."""
    proxy = Proxy()
    rollout = Rollout(options, proxy, folder)
    async with proxy.listening() as url:
        try:
            for _ in range(NUM_REPLICAS):
                await rollout.start_one()
            done = asyncio.Event()
            loading = asyncio.ensure_future(load_until(done, url, options.concurrency))
            await asyncio.sleep(options.calm)
            try:
                await rollout.run()
            finally:
                await asyncio.sleep(options.calm)
                done.set()
                records = await loading
        finally:
            await rollout.stop()
    figures = summarise(records)
    figures |= {"least_ready": rollout.least_ready, "replicas_started": rollout.num_started, "passed": proxy.num_passed}
    print(json.dumps(figures, indent=2) if options.json else _line(figures))
    enough = rollout.least_ready >= NUM_REPLICAS - MAX_UNAVAILABLE
    return 0 if figures["completed"] and not figures["failed"] and enough else 1


def _line(figures: dict[str, object]) -> str:
    return (
        f"{figures['completed']} requests answered, {figures['failed']} lost {figures['failures'] or ''}while "
        f"{NUM_REPLICAS} replicas were replaced; never fewer than {figures['least_ready']} took requests"
    )


def say(line: str) -> None:
    print(f"rollout: {line}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.rollout", description="a rolling restart must lose nothing")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--pre-stop", type=float, default=5.0, metavar="S", help="as in the deployment")
    parser.add_argument("--propagation", type=float, default=1.0, metavar="S", help="until endpoints forget a pod")
    parser.add_argument("--calm", type=float, default=3.0, metavar="S", help="load before and after")
    parser.add_argument("--without-pre-stop", action="store_true", help="shows why it is there")
    parser.add_argument("--without-readiness", action="store_true", help="shows why it is there")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        try:
            return asyncio.run(rehearse(options, Path(folder)))
        except (ReplicaFailed, TimeoutError) as error:
            print(f"rollout: {error or 'a replica was not ready in time'}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
