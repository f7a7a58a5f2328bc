"""Ray Serve's router of requests to replicas, by affinity. Knows no engine and no HTTP."""

from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from service.cluster.affinity import ranked
from service.cluster.call import Call


class AffinityRouter(RequestRouter):  # type: ignore[misc]
    """The favourite first, the others behind it; Serve asks the next one when a replica is full."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        affinity = _affinity(pending_request.args) if pending_request is not None else None
        if affinity is None:  # any of them; Serve takes the idlest of a rank
            return [candidate_replicas]
        lengths = self.replica_queue_len_cache

        def num_open(replica: RunningReplica) -> int:
            return lengths.get(replica.replica_id) or 0

        def name(replica: RunningReplica) -> str:
            return str(replica.replica_id.unique_id)

        return [[replica] for replica in ranked(affinity, candidate_replicas, name, num_open)]


def _affinity(arguments: list[Any]) -> str | None:
    return next((argument.affinity for argument in arguments if isinstance(argument, Call)), None)
