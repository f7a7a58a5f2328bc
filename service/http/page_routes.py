"""The page at /: three files of this package, and nothing from elsewhere. What it shows it asks of the other routes."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = (
    ("/", "index.html", "text/html"),
    ("/page.css", "page.css", "text/css"),
    ("/page.js", "page.js", "text/javascript"),
)

router = APIRouter(include_in_schema=False)


def _serve(path: str, name: str, media_type: str) -> None:
    content = (files("service.http") / "page" / name).read_bytes()
    headers = {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"}

    @router.get(path)
    async def page() -> Response:
        return Response(content, media_type=media_type, headers=headers)


for _file in FILES:
    _serve(*_file)
