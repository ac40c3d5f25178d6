"""The API: `uvicorn api.app:app`. Imports no torch, so that it is up within a second."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from api.children import raise_descriptor_limit
from api.database.journal import log_to_stderr
from api.reconciler import Reconciler
from api.removal import Remover
from api.routes import (
    annotation,
    artifacts,
    comparison,
    dashboard,
    estimate,
    events,
    experiments,
    external,
    geometry,
    health,
    listing,
    logs,
    measure,
    metrics,
    monitoring,
    plots,
    presets,
    sweep_estimate,
    sweep_table,
    sweeps,
    theory,
    workers,
)
from api.routes import export as bundle
from api.routes import sweep_plots as sweep_pictures
from api.settings import get_settings
from api.web import errors
from api.web.document import document_of
from api.web.gate import Gate
from api.web.hosts import open_doors
from api.web.parameters import known_parameters
from ncore.series import PARQUET


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    log_to_stderr()
    warning = open_doors(get_settings())
    if warning is not None:
        logging.getLogger("ncore.api").warning(warning)
    raise_descriptor_limit()
    gc.collect()
    gc.freeze()  # what the imports have made lives as long as the process: to walk it again halves the speed of storing
    reconciler = Reconciler()
    reconciler.start()
    remover = Remover()
    remover.start()
    yield
    await run_in_threadpool(reconciler.stop)
    await run_in_threadpool(remover.stop)


class Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        return document_of(self)


def make_app() -> FastAPI:
    app = Api(
        title="ncore",
        version=version("ncore"),
        description="Neural-collapse experiments: submit a spec, read what is measured and what the theory predicts.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # the function's, which a client's is made of
        dependencies=[Depends(known_parameters)],
    )
    errors.install(app)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=2000,
        compresslevel=1,  # digits hardly shrink more
        thread_minimum_size=16_384,  # what takes longer than a thread's switch is done off the event loop
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream", PARQUET),
    )
    app.add_middleware(Gate)
    parts = (
        experiments,
        external,
        annotation,
        listing,
        metrics,
        theory,
        estimate,
        measure,
        plots,
        comparison,
        geometry,
        events,
        logs,
        artifacts,
        bundle,
        sweeps,
        sweep_estimate,
        sweep_table,
        sweep_pictures,
        presets,
        workers,
        health,
        monitoring,
        dashboard,
    )
    for part in parts:
        app.include_router(part.router)
    return app


app = make_app()
