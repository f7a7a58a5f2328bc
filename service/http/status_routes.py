"""Health, models, version and metrics: what operators and their machines ask."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.responses import Response

from service.errors import UnknownModel
from service.generate.serving import Phase, ServedModel, Serving
from service.http.openapi import json_of

router = APIRouter()


@router.get(
    "/health/live",
    summary="200 while the process works; 503 when its engine hangs or has died.",
    responses=json_of("Health", 200, 503),
)
async def live(request: Request) -> JSONResponse:
    is_well = _serving(request).is_well
    return JSONResponse({"status": "live" if is_well else "stalled"}, 200 if is_well else 503)


@router.get(
    "/health/ready",
    summary="200 when requests are taken; 503 while loading and while draining.",
    responses=json_of("Health", 200, 503),
)
async def ready(request: Request) -> JSONResponse:
    phase = _serving(request).phase
    return JSONResponse({"status": phase.value}, 200 if phase is Phase.READY else 503)


@router.get("/v1/models", summary="The served models, as OpenAI lists them.", responses=json_of("Models"))
async def models(request: Request) -> JSONResponse:
    return JSONResponse({"object": "list", "data": [_model(served) for served in _serving(request).models]})


@router.get("/v1/models/{name:path}", summary="One served model.", responses=json_of("Model"))
async def model(request: Request, name: str) -> JSONResponse:
    for served in _serving(request).models:
        if served.name == name:
            return JSONResponse(_model(served))
    raise UnknownModel(f"no model is called {name[:100]!r} here", param="model")


@router.get(
    "/v1/kernels",
    summary="What a step is made of, op by op: packing, micro-kernels, and what they have cost since the start.",
    responses=json_of("Kernels"),
)
def kernels(request: Request, model: str | None = None) -> JSONResponse:
    # Not async: reading the counts of every op takes some milliseconds, on a worker thread.
    served = _serving(request).described(model)
    return JSONResponse({"model": served.name, "ops": [_op(op) for op in served.explain()]})


@router.get("/version", summary="The version of this server.", responses=json_of("Version"))
async def version(request: Request) -> JSONResponse:
    return JSONResponse({"version": request.app.version})


@router.get(
    "/metrics", summary="Prometheus metrics, or OpenMetrics if that is asked for.", response_class=PlainTextResponse
)
def metrics(request: Request) -> Response:
    # Not async: the text is written on a worker thread, so that a scrape holds up no stream.
    body, content_type = request.app.state.metrics.exposition.scrape(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


def _op(op: Any) -> dict[str, Any]:
    """A service.explain.ExplainedOp, not imported: it brings numba."""
    shown = asdict(op)
    for phase in ("prefill", "decode"):
        cost = getattr(op, phase)
        shown[phase]["gigabytes_per_s"] = cost.gigabytes_per_s
        shown[phase]["gigaoperations_per_s"] = cost.gigaoperations_per_s
    return shown


def _model(served: ServedModel) -> dict[str, object]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created_s,
        "owned_by": "gemmule",
        "max_model_len": served.max_context,
    }
