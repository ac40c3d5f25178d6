"""The dashboard at /, its files, and /docs. Everything is served from here: nothing is loaded from elsewhere."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from api.web.errors import PROBLEMS, not_found

router = APIRouter(include_in_schema=False, responses=PROBLEMS)
STATIC = Path(__file__).parents[1] / "static"
FILES = StaticFiles(directory=STATIC)
VERSIONED = "max-age=31536000, immutable"
"""A vendored file has its version in its name."""
SECURITY = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Vega compiles its expressions, hence unsafe-eval; its styles are inline."""


@router.get("/")
def index() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={**SECURITY, "Cache-Control": "no-cache"})


@router.get("/docs")
def docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", headers={**SECURITY, "Cache-Control": "no-cache"})


@lru_cache
def vega() -> str:
    """The Vega runtime that vl-convert carries."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed; window.vega = vega;")


@router.get("/static/vega.js")
def runtime(request: Request) -> Response:
    tag = f'"{version("vl-convert-python")}"'
    headers = {**SECURITY, "ETag": tag, "Cache-Control": "max-age=86400"}
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(vega(), media_type="text/javascript", headers=headers)


@router.get("/static/{name:path}")
async def file(request: Request, name: str) -> Response:
    try:
        response = await FILES.get_response(name, request.scope)
    except HTTPException:
        raise not_found("file", name) from None
    kept = VERSIONED if name.startswith("vendor/") else "no-cache"
    response.headers.update({**SECURITY, "Cache-Control": kept})
    return response
