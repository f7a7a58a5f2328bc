"""The application that Ray Serve runs: front ends, and replicas of the engine. Knows no request.

    serve run service.cluster.application:build model=smollm2-135m-instruct max_replicas=4

or a file: deploy/ray/serve.yaml. Ray places, restarts, scales and replaces replicas; routing is ours.
"""

from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RaySystemError
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from service.cluster.call import Call, Head
from service.cluster.front import FrontEnd
from service.cluster.options import Options
from service.cluster.replica import EngineReplica

ENGINE, FRONT = "Engine", "Front"
ROUTER = "service.cluster.router:AffinityRouter"


class Engine(EngineReplica):
    """Serve calls `__del__` once a replica's requests have ended, before its process does."""

    def __init__(self, settings: dict[str, Any], drain_s: float) -> None:
        super().__init__(settings)
        self._drain_s = drain_s

    async def __del__(self) -> None:
        await self.close(self._drain_s)


class Front:
    """Every path of the application."""

    def __init__(self, engine: DeploymentHandle, max_body: int) -> None:
        calls = engine.options(stream=True)

        def ask(call: Call) -> AsyncIterator[Head | bytes]:
            made: AsyncIterator[Head | bytes] = aiter(calls.answer.remote(call))
            return made

        self._front = FrontEnd(ask, is_lost, max_body)

    async def __call__(self, request: Request) -> Response:
        return await self._front.answer(request)

    def num_retried(self) -> int:
        return self._front.num_retried


def is_lost(error: Exception) -> bool:
    """Whether the replica's process or node is gone."""
    return isinstance(error, RayActorError | RaySystemError)


def build(options: Options) -> Application:
    """Serve calls it with what it was given as arguments."""
    settings = {
        **options.settings,
        "model": options.model,
        "threads": options.threads,
        **({"served_name": options.served_name} if options.served_name else {}),
    }
    engine = serve.deployment(
        Engine,
        name=ENGINE,
        max_ongoing_requests=options.max_ongoing_requests,
        max_replicas_per_node=options.max_replicas_per_node,
        ray_actor_options={"num_cpus": options.threads},
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": max(options.min_replicas, options.max_replicas),
            "initial_replicas": options.min_replicas,
            "target_ongoing_requests": options.target_ongoing_requests,
            "upscale_delay_s": options.upscale_delay_s,
            "downscale_delay_s": options.downscale_delay_s,
            "metrics_interval_s": 1,
            "look_back_period_s": 5,
        },
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=1,
        graceful_shutdown_timeout_s=options.drain_s,
        request_router_config=(
            RequestRouterConfig(request_router_class=ROUTER) if options.routing == "prefix" else RequestRouterConfig()
        ),
    )
    front = serve.deployment(
        Front,
        name=FRONT,
        num_replicas=options.num_fronts,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0.1, "resources": options.front_resources},
        graceful_shutdown_timeout_s=options.drain_s,
    )
    return front.bind(engine.bind(settings, options.drain_s), options.max_body)
