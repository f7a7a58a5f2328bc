"""The Open Inference Protocol v2: text as BYTES tensors, raw and not."""

import json
from typing import Any

import grpc
import pytest

from service.rpc.proto.inference import open_inference_grpc_pb2 as pb
from service.rpc.tensors import packed
from tests.service.fakes import FakeRunner
from tests.service.rpc.api import MODEL, api


def infer(*prompts: str, raw: bool = False, sampling: str | None = None, **parameters: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=MODEL, id="mine")
    inputs = {"text_input": [prompt.encode() for prompt in prompts]}
    if sampling is not None:
        inputs["sampling_parameters"] = [sampling.encode()]
    for name, elements in inputs.items():
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[len(elements)])
        if raw:
            request.raw_input_contents.append(packed(elements))
        else:
            tensor.contents.bytes_contents.extend(elements)
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


async def test_live_ready_and_metadata() -> None:
    async with api(FakeRunner()) as client:
        assert (await client.oip.server_live(pb.ServerLiveRequest())).live
        assert (await client.oip.server_ready(pb.ServerReadyRequest())).ready
        assert (await client.oip.model_ready(pb.ModelReadyRequest(name=MODEL))).ready
        assert (await client.oip.model_ready(pb.ModelReadyRequest(name=MODEL, version="1"))).ready
        assert not (await client.oip.model_ready(pb.ModelReadyRequest(name=MODEL, version="2"))).ready
        assert not (await client.oip.model_ready(pb.ModelReadyRequest(name="other"))).ready
        assert (await client.oip.server_metadata(pb.ServerMetadataRequest())).name == "gemmule"
        model = await client.oip.model_metadata(pb.ModelMetadataRequest(name=MODEL))
        assert [tensor.name for tensor in model.inputs] == ["text_input", "sampling_parameters"]
        assert {(tensor.datatype, tuple(tensor.shape)) for tensor in model.inputs} == {("BYTES", (-1,))}
        client.serving.drain()
        assert not (await client.oip.server_ready(pb.ServerReadyRequest())).ready
        assert not (await client.oip.model_ready(pb.ModelReadyRequest(name=MODEL))).ready


@pytest.mark.parametrize("raw", [False, True])
async def test_infer(raw: bool) -> None:
    async with api(FakeRunner(script=b"Hello!")) as client:
        answer = await client.oip.model_infer(infer("a", "b", raw=raw, max_tokens=3))
    assert (answer.model_name, answer.model_version, answer.id) == (MODEL, "1", "mine")
    assert [(tensor.name, list(tensor.shape)) for tensor in answer.outputs] == [
        ("text_output", [2]),
        ("finish_reason", [2]),
    ]
    columns = [[b"Hel", b"Hel"], [b"length", b"length"]]
    if raw:
        assert list(answer.raw_output_contents) == [packed(column) for column in columns]
    else:
        assert [list(tensor.contents.bytes_contents) for tensor in answer.outputs] == columns


async def test_options_as_parameters_and_as_json() -> None:
    options = {"temperature": 0.8, "seed": 3, "max_tokens": 12}
    async with api(FakeRunner()) as client:
        answers = [
            await client.oip.model_infer(request)
            for request in (infer("a", **options), infer("a", sampling=json.dumps(options)))
        ]
        wanted = infer("a", **options)
        wanted.outputs.add(name="text_output")
        alone = await client.oip.model_infer(wanted)
    assert answers[0] == answers[1]
    assert [tensor.name for tensor in alone.outputs] == ["text_output"]
    assert alone.outputs[0] == answers[0].outputs[0]


def wrong(field: str) -> pb.ModelInferRequest:
    request = infer("a", raw=field.startswith("raw"))
    match field:
        case "no input":
            del request.inputs[:]
        case "unknown input":
            request.inputs.add(name="other", datatype="BYTES", shape=[0])
        case "datatype":
            request.inputs[0].datatype = "FP32"
        case "shape":
            request.inputs[0].shape[0] = 7
        case "utf-8":
            request.inputs[0].contents.bytes_contents[0] = b"\xff"
        case "raw count":
            request.raw_input_contents.append(b"")
        case "raw cut":
            request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
        case "raw long":
            request.raw_input_contents[0] = b"\xff\xff\xff\xffx"
        case "raw short":
            request.raw_input_contents[0] = b"\x01\x00"
        case "output":
            request.outputs.add(name="other")
        case "parameter":
            request.parameters["tempurature"].double_param = 1
        case "parameter value":
            request.parameters["temperature"].double_param = 9
        case "parameter type":
            request.parameters["max_tokens"].string_param = "9"
        case "version":
            request.model_version = "2"
    return request


WRONG = ("no input", "unknown input", "datatype", "shape", "utf-8", "raw count", "raw cut", "raw long", "raw short")
MORE_WRONG = ("output", "parameter", "parameter value", "parameter type", "version")


@pytest.mark.parametrize("field", [*WRONG, *MORE_WRONG])
async def test_what_is_wrong_is_an_invalid_argument(field: str) -> None:
    async with api(FakeRunner()) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.oip.model_infer(wrong(field))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details()


@pytest.mark.parametrize("sampling", ["{", "[]", "[" * 100_000, '{"max_tokens": "many"}'])
async def test_sampling_parameters_that_are_none(sampling: str) -> None:
    async with api(FakeRunner()) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.oip.model_infer(infer("a", sampling=sampling))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
