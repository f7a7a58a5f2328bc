"""gemmule.v1.Control: what operators ask of a server, and tell it. The work is done below."""

from importlib.metadata import version

from kernels.runtime.abi import BLOCK_TOKENS
from service.generate.serving import Phase, Serving
from service.rpc.methods import Call
from service.rpc.proto.gemmule.v1 import control_pb2 as pb

PHASES = {
    Phase.LOADING: pb.PHASE_LOADING,
    Phase.READY: pb.PHASE_READY,
    Phase.DRAINING: pb.PHASE_DRAINING,
}


class Control:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def get_model_info(self, request: pb.GetModelInfoRequest, call: Call) -> pb.GetModelInfoResponse:
        model = self._serving.described(request.model or None)
        return pb.GetModelInfoResponse(
            name=model.name,
            created_s=model.created_s,
            max_context=model.max_context,
            vocab_size=model.generator.vocab_size,
            has_chat_template=model.generator.has_chat_template,
            eos_token_ids=sorted(model.generator.eos_ids),
        )

    async def get_server_info(self, request: pb.GetServerInfoRequest, call: Call) -> pb.GetServerInfoResponse:
        serving = self._serving
        return pb.GetServerInfoResponse(
            version=version("gemmule"),
            phase=PHASES[serving.phase],
            uptime_s=serving.uptime_s,
            description=[line for model in serving.models for line in model.description],
        )

    async def get_load(self, request: pb.GetLoadRequest, call: Call) -> pb.GetLoadResponse:
        self._serving.described(None)  # or it is still loading
        loads = [model.load() for model in self._serving.models]
        return pb.GetLoadResponse(
            num_running=sum(load.num_running for load in loads),
            num_queued=sum(load.num_queued for load in loads),
            num_used_blocks=sum(load.num_used_blocks for load in loads),
            num_blocks=sum(load.num_blocks for load in loads),
            block_tokens=BLOCK_TOKENS,
        )

    async def abort(self, request: pb.AbortRequest, call: Call) -> pb.AbortResponse:
        self._serving.described(None)  # or it is still loading
        models = self._serving.models
        aborted = [id for id in request.request_ids if any(model.generator.abort(id) for model in models)]
        return pb.AbortResponse(aborted=aborted)

    async def drain(self, request: pb.DrainRequest, call: Call) -> pb.DrainResponse:
        self._serving.ask_to_stop()
        return pb.DrainResponse(num_open=sum(len(model.generator.open_requests) for model in self._serving.models))
