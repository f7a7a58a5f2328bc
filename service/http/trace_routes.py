"""GET /debug/trace: the next steps, op by op and thread by thread, for Perfetto."""

import json

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.errors import BadRequest
from service.http.openapi import json_of
from service.tracing.step_traces import StepTraces

router = APIRouter()


@router.get(
    "/debug/trace",
    summary="The next steps as a Chrome trace: open it in ui.perfetto.dev.",
    responses=json_of("Trace"),
)
async def trace(request: Request, steps: str = "8", timeout_s: str = "10") -> Response:
    """`steps`: how many, up to 256. `timeout_s`: how long to wait for them, up to 60."""
    if not steps.isdecimal() or len(steps) > 9:
        raise BadRequest(f"'steps' is {steps[:100]!r}, not a number", param="steps")
    try:
        wait_s = float(timeout_s)
    except ValueError:
        raise BadRequest(f"'timeout_s' is {timeout_s[:100]!r}, not a number", param="timeout_s") from None
    traces: StepTraces = request.app.state.step_traces
    made = await traces.take(int(steps), wait_s)
    headers = {"content-disposition": 'attachment; filename="gemmule-trace.json"'}
    return Response(json.dumps(made), media_type="application/json", headers=headers)
