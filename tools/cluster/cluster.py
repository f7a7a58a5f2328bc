"""Two Ray nodes on this machine, the application on them, and what is done to both. Knows no load and no judgement."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.cluster_utils import Cluster

from service.cluster.application import ENGINE, FRONT, build
from service.cluster.options import Options
from tools.peer.servers import free_port

if TYPE_CHECKING:
    from ray._private.node import Node

APPLICATION = "gemmule"
START_S, POLL_S = 240.0, 0.25
NUM_LOOKS, MOST_ROUNDS = 24, 10
"""Requests for an identity at a time, until every replica has probably answered one."""
# Named, because Ray waits 15 s for what a port was found to be, and fails then: too short on a machine with other work.
AGENT_PORTS = ("runtime_env_agent_port", "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
OWN_PORT = "metrics_agent_port"
"""The one of them that Ray's command finds itself."""
STORE_BYTES = 80 << 20
"""Of each node's object store: nothing here is large."""


class ClusterFailed(Exception):
    """The cluster did not do what was asked in time; one line."""


class TwoNodes:
    """A head, with the front end and the controller of Serve, and a second node; each has room for `slots` replicas."""

    def __init__(self, port: int, slots: int) -> None:
        self._slots = slots
        self._cluster = Cluster(initialize_head=True, head_node_args=self._node())
        self._second: Node | None = self._cluster.add_node(**self._node())
        self._joined: subprocess.Popen[bytes] | None = None
        ray.init(address=self._cluster.address, logging_level="ERROR", log_to_driver=False)
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        self.url = f"http://127.0.0.1:{port}"

    def _node(self) -> dict[str, Any]:
        sizes = {"num_cpus": self._slots + 1, "object_store_memory": STORE_BYTES}
        return {**sizes, "include_dashboard": False, **{name: free_port() for name in AGENT_PORTS}}

    def deploy(self, options: Options) -> None:
        """Returns once as many replicas as its least number run, all of them of these options."""
        serve.run(build(options), name=APPLICATION, route_prefix="/", logging_config={"log_level": "ERROR"})
        self.wait_for(options.min_replicas)

    def num_replicas(self) -> int:
        """Those that run and are healthy."""
        return int(self._deployment().replica_states.get("RUNNING", 0))

    def wait_for(self, num_replicas: int, within_s: float = START_S) -> float:
        """Seconds until that many run, no less and no more."""
        return self._wait(lambda: self.num_replicas() == num_replicas, f"{num_replicas} replicas run", within_s)

    def wait_below(self, num_replicas: int, within_s: float = 90.0) -> float:
        """Seconds until Serve has noticed that fewer run."""
        return self._wait(lambda: self.num_replicas() < num_replicas, f"fewer than {num_replicas} run", within_s)

    def _wait(self, is_so: Callable[[], bool], words: str, within_s: float) -> float:
        begun_s = time.monotonic()
        while not is_so():
            if time.monotonic() - begun_s > within_s:
                raise ClusterFailed(f"not so after {within_s:g} s: {words} ({self._deployment().replica_states})")
            time.sleep(POLL_S)
        return time.monotonic() - begun_s

    def _deployment(self) -> Any:
        return serve.status().applications[APPLICATION].deployments[ENGINE]

    def identities(self, least: int = 1) -> list[dict[str, Any]]:
        """Process, model and threads of each replica that answered one of some requests; more, until so many have."""
        handle = serve.get_deployment_handle(ENGINE, APPLICATION)
        found: dict[int, dict[str, Any]] = {}
        for _ in range(MOST_ROUNDS):
            answers = [handle.identity.remote() for _ in range(NUM_LOOKS)]
            found |= {one["pid"]: dict(one) for one in (answer.result(timeout_s=60) for answer in answers)}
            if len(found) >= least:
                break
        return list(found.values())

    def num_retried(self) -> int:
        """Requests that the front end asked again, its callers none the wiser."""
        return int(serve.get_deployment_handle(FRONT, APPLICATION).num_retried.remote().result(timeout_s=60))

    def kill_replica(self, pid: int) -> None:
        """As the kernel does when memory runs out."""
        os.kill(pid, signal.SIGKILL)

    def kill_second_node(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def add_node(self) -> None:
        """As from another machine, by Ray's command: in this process only the main thread could."""
        sizes = [f"--num-cpus={self._slots + 1}", f"--object-store-memory={STORE_BYTES}"]
        ports = [f"--{name.replace('_', '-')}={free_port()}" for name in AGENT_PORTS if name != OWN_PORT]
        command = [str(Path(sys.executable).with_name("ray")), "start", f"--address={self._cluster.address}", "--block"]
        self._joined = subprocess.Popen([*command, *sizes, *ports], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def end(self) -> None:
        serve.shutdown()
        ray.shutdown()
        if self._joined is not None:
            self._joined.terminate()
            self._joined.wait(timeout=60)
        self._cluster.shutdown()


@contextmanager
def two_nodes(port: int, slots: int = 1) -> Iterator[TwoNodes]:
    cluster = TwoNodes(port, slots)
    try:
        yield cluster
    finally:
        cluster.end()


async def off_loop(work: Any, *arguments: Any) -> Any:
    """Ray's calls wait; the load must not."""
    return await asyncio.to_thread(work, *arguments)
