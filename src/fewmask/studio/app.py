"""The application: the page's files, the routes of each part, and errors as one line each."""

from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

import fewmask
from fewmask.corrections.journal import VersionConflictError
from fewmask.errors import FewmaskError
from fewmask.studio.context import Context
from fewmask.studio.example_routes import example_routes
from fewmask.studio.job_routes import job_routes
from fewmask.studio.library import NotOpenedError
from fewmask.studio.library_routes import library_routes
from fewmask.studio.media_routes import media_routes
from fewmask.studio.pool_routes import pool_routes
from fewmask.studio.review_routes import review_routes
from fewmask.studio.run_routes import run_routes
from fewmask.studio.security import Gate

STATIC = Path(__file__).parent / "static"


def create_app(context: Context, *, token: str, hosts: Collection[str] = ()) -> FastAPI:
    """The studio as an ASGI application.

    Args:
        context: what was opened, and where to write.
        token: what the first address must carry.
        hosts: names it is reached by, besides this machine's own.
    """
    app = FastAPI(title="fewmask studio", version=fewmask.__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=1)
    app.add_middleware(Gate, token=token, hosts=tuple(hosts))
    parts = (library_routes, media_routes, run_routes, example_routes, review_routes, pool_routes, job_routes)
    for routes in parts:
        app.include_router(routes(context))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.exception_handler(FewmaskError)
    async def refused(_: Request, error: FewmaskError) -> JSONResponse:
        status = 409 if isinstance(error, VersionConflictError) else 404 if isinstance(error, NotOpenedError) else 400
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)

    return app
