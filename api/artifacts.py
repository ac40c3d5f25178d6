"""/experiments/{id}/artifacts: the files that an experiment has left, its last checkpoint and its final state."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.db import reading
from api.errors import PROBLEMS, not_found
from api.experiments import find
from api.settings import get_settings

router = APIRouter(tags=["artifacts"], responses=PROBLEMS)
NAMES = ("checkpoint.pt", "final.safetensors")


class Artifact(BaseModel):
    name: str
    bytes: int


class Artifacts(BaseModel):
    items: list[Artifact]


@router.get("/experiments/{experiment_id}/artifacts", response_model=Artifacts)
def index(experiment_id: str) -> Artifacts:
    """`final.safetensors`: weights and features at the end; `checkpoint.pt`: where an interrupted run goes on."""
    with reading() as session:
        folder = get_settings().experiment_dir(find(session, experiment_id).id)
    sizes = {name: (folder / name).stat().st_size for name in NAMES if (folder / name).is_file()}
    return Artifacts(items=[Artifact(name=name, bytes=size) for name, size in sizes.items()])


@router.get(
    "/experiments/{experiment_id}/artifacts/{name}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download(experiment_id: str, name: str) -> FileResponse:
    with reading() as session:
        path = get_settings().experiment_dir(find(session, experiment_id).id) / name
    if name not in NAMES or not path.is_file():
        raise not_found("artifact", name)
    return FileResponse(path, media_type="application/octet-stream", filename=f"{experiment_id}-{name}")
