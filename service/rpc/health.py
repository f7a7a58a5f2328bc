"""grpc.health.v1.Health: whether each service takes calls, asked once or watched. Knows no work.

Not the one of grpcio-health-checking, whose watchers would hold up the end of the process: here the phase itself is
watched, and a watch ends when the server does.
"""

from collections.abc import Collection

from grpc_health.v1 import health_pb2 as pb

from service.errors import NotFound
from service.generate.serving import Phase, Serving
from service.rpc.methods import Call

SERVICE = pb.DESCRIPTOR.services_by_name["Health"]
Status = pb.HealthCheckResponse


class Health:
    def __init__(self, serving: Serving, services: Collection[str]) -> None:
        """`services`: full names; the empty name, which stands for the server, is always known."""
        self._serving = serving
        self._services = {"", *services}

    async def check(self, request: pb.HealthCheckRequest, call: Call) -> pb.HealthCheckResponse:
        if request.service not in self._services:
            raise NotFound(f"no service is called {request.service[:100]!r} here", param="service")
        return _response(self._serving.phase)

    async def list(self, request: pb.HealthListRequest, call: Call) -> pb.HealthListResponse:
        response = _response(self._serving.phase)
        return pb.HealthListResponse(statuses=dict.fromkeys(self._services, response))

    async def watch(self, request: pb.HealthCheckRequest, call: Call) -> None:
        if request.service not in self._services:
            # The protocol's rule: the call stays open, for the service may come; here it never does.
            await call.write(pb.HealthCheckResponse(status=Status.SERVICE_UNKNOWN))
        phase = self._serving.phase
        while True:
            if request.service in self._services:
                await call.write(_response(phase))
            if phase is Phase.DRAINING:
                return
            phase = await self._serving.phase_after(phase)


def _response(phase: Phase) -> pb.HealthCheckResponse:
    return pb.HealthCheckResponse(status=Status.SERVING if phase is Phase.READY else Status.NOT_SERVING)
