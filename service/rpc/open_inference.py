"""inference.GRPCInferenceService, the Open Inference Protocol v2: text in and out as BYTES tensors.

Inputs: `text_input`, one or more prompts; options are the request's parameters, or a JSON object in the input
`sampling_parameters`, as Triton's vLLM backend takes them. Output: `text_output`, and `finish_reason` beside it.
"""

import json
from contextlib import closing
from importlib.metadata import version
from secrets import token_hex

from service.errors import BadRequest, GemmuleError
from service.generate.choices import Choices
from service.generate.options import GenerationOptions
from service.generate.serving import Phase, ServedModel, Serving
from service.generate.text import TextEvent
from service.generate.validation import parse_values
from service.rpc import tensors
from service.rpc.methods import Call
from service.rpc.proto.inference import open_inference_grpc_pb2 as pb

MODEL_VERSION = "1"
MAX_PROMPTS = 128
TEXT_INPUT = "text_input"
SAMPLING_PARAMETERS = "sampling_parameters"
OUTPUTS = ("text_output", "finish_reason")


class OpenInference:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def server_live(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._serving.phase is Phase.READY)

    async def model_ready(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        try:
            self._model(request.name, request.version)
        except GemmuleError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._serving.phase is Phase.READY)

    async def server_metadata(self, request: pb.ServerMetadataRequest, call: Call) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="gemmule", version=version("gemmule"), extensions=[])

    async def model_metadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:
        model = self._model(request.name, request.version)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[MODEL_VERSION],
            platform="gemmule_gguf",
            inputs=[tensor(name=name, datatype="BYTES", shape=[-1]) for name in (TEXT_INPUT, SAMPLING_PARAMETERS)],
            outputs=[tensor(name=name, datatype="BYTES", shape=[-1]) for name in OUTPUTS],
        )

    async def model_infer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        self._model(request.model_name, request.model_version)
        model = self._serving.model(request.model_name)
        _check_outputs(request)
        prompts = _prompts(request)
        options = parse_values(GenerationOptions, _options(request))
        # The client's id names its answer; what the server knows the request by must be unique.
        request_id = f"infer-{token_hex(12)}"
        requests = options.requests(request_id, prompts, options.params())
        with closing(await Choices.admit(model.generator, request_id, requests)) as choices:
            return _response(request, await choices.collect())

    def _model(self, name: str, wanted_version: str) -> ServedModel:
        model = self._serving.described(name)
        if wanted_version not in ("", MODEL_VERSION):
            raise BadRequest(
                f"the model has no version {wanted_version[:100]!r}, only {MODEL_VERSION!r}", param="model_version"
            )
        return model


def _prompts(request: pb.ModelInferRequest) -> list[str]:
    for tensor in request.inputs:
        if tensor.name not in (TEXT_INPUT, SAMPLING_PARAMETERS):
            raise BadRequest(f"the model has no input {tensor.name[:100]!r}", param="inputs")
    prompts = tensors.texts_of(request, TEXT_INPUT)
    if not prompts:
        raise BadRequest(f"the input '{TEXT_INPUT}' is required", param=TEXT_INPUT)
    if len(prompts) > MAX_PROMPTS:
        raise BadRequest(f"at most {MAX_PROMPTS} prompts in one request, not {len(prompts)}", param=TEXT_INPUT)
    return prompts


def _options(request: pb.ModelInferRequest) -> dict[str, object]:
    values: dict[str, object] = {}
    for text in tensors.texts_of(request, SAMPLING_PARAMETERS) or ():
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"'{SAMPLING_PARAMETERS}' is not valid JSON: {error}", param=SAMPLING_PARAMETERS) from None
        if not isinstance(given, dict):
            raise BadRequest(f"'{SAMPLING_PARAMETERS}' must be a JSON object", param=SAMPLING_PARAMETERS)
        values |= given
    return values | tensors.values_of_parameters(request.parameters)


def _check_outputs(request: pb.ModelInferRequest) -> None:
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise BadRequest(f"the model has no output {output.name[:100]!r}", param="outputs")


def _response(request: pb.ModelInferRequest, outputs: list[TextEvent]) -> pb.ModelInferResponse:
    columns = {
        "text_output": [output.text.encode() for output in outputs],
        "finish_reason": [output.finish_reason.value.encode() for output in outputs if output.finish_reason],
    }
    wanted = [output.name for output in request.outputs] or list(OUTPUTS)
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=MODEL_VERSION, id=request.id)
    for name in wanted:
        tensor = response.outputs.add(name=name, datatype="BYTES", shape=[len(columns[name])])
        # As the request came: whoever sends raw tensors reads raw ones.
        if request.raw_input_contents:
            response.raw_output_contents.append(tensors.packed(columns[name]))
        else:
            tensor.contents.bytes_contents.extend(columns[name])
    return response
