"""/experiments/{id}/artifacts: the files that an experiment has left, its last checkpoint and its final state."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.database.sessions import reading
from api.shown import find
from api.store import get_store
from api.web.errors import PROBLEMS, not_found

router = APIRouter(tags=["artifacts"], responses=PROBLEMS)
NAMES = ("checkpoint.pt", "final.safetensors")


class Artifact(BaseModel):
    name: str
    bytes: int


class Artifacts(BaseModel):
    items: list[Artifact]


@router.get("/experiments/{experiment_id}/artifacts", response_model=Artifacts)
def index(experiment_id: str) -> Artifacts:
    """`final.safetensors`: weights and features at the end (a network's features beyond 2 GiB are left out, as its log
    tells); `checkpoint.pt`: where an interrupted run goes on."""
    sizes = _sizes(experiment_id)
    return Artifacts(items=[Artifact(name=name, bytes=sizes[name]) for name in NAMES if name in sizes])


@router.get(
    "/experiments/{experiment_id}/artifacts/{name}",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download(experiment_id: str, name: str) -> StreamingResponse:
    sizes = _sizes(experiment_id)
    if name not in NAMES or name not in sizes:
        raise not_found("artifact", name)
    headers = {
        "Content-Disposition": f'attachment; filename="{experiment_id}-{name}"',
        "Content-Length": str(sizes[name]),
    }
    chunks = get_store().chunks(experiment_id, name)
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


def _sizes(experiment_id: str) -> dict[str, int]:
    with reading() as session:
        return get_store().sizes(find(session, experiment_id).id)
