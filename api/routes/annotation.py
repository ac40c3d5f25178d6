"""PATCH /experiments/{id}: what may be changed of an experiment: how it is called and found, its place in the queue."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic.functional_validators import AfterValidator

from api.database import journal
from api.database.names import folded
from api.database.sessions import writing
from api.database.tables import now
from api.shown import ExperimentOut, find, shown
from api.web.bodies import parsed, sound
from api.web.errors import PROBLEMS
from ncore.kinds.fields import Entries, Label, Plain
from ncore.spec import MAX_PRIORITY, MAX_TAGS
from ncore.text import odd_character

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
MAX_NOTES = 20_000
_LINES = re.compile(r"[\t\n]")


def _lines(text: str) -> str:
    """Lines of plain text, ended by LF. Raises ValueError naming the character that is not allowed."""
    text = text.replace("\r\n", "\n")
    odd = odd_character(_LINES.sub("", text))
    if odd is not None:
        raise ValueError(f"must be plain text in lines, without the character {odd}")
    return text


class Annotations(BaseModel):
    """The changes: a field that is left out is not changed; null clears it."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[Annotated[str, Field(max_length=200), Plain()] | None, Field(description="shown in lists")] = None
    tags: Annotated[Annotated[list[Label], Entries(0, MAX_TAGS)] | None, Field(description="words to find it by")] = (
        None
    )
    notes: Annotated[
        Annotated[str, Field(max_length=MAX_NOTES), AfterValidator(_lines)] | None, Field(description="Markdown")
    ] = None
    priority: Annotated[
        Annotated[int, Field(strict=True, ge=-MAX_PRIORITY, le=MAX_PRIORITY)] | None,
        Field(description="in the queue: the highest first"),
    ] = None
    archived: Annotated[
        Annotated[bool, Field(strict=True)] | None, Field(description="hidden from lists that do not ask for it")
    ] = None


CLEARED: dict[str, Any] = {"name": "", "tags": [], "notes": "", "priority": 0, "archived": False}
AnnotationsBody = Annotated[Any, Body(), PlainValidator(lambda body: body, json_schema_input_type=Annotations)]


@router.patch("/experiments/{experiment_id}", response_model=ExperimentOut)
def annotate_experiment(experiment_id: str, body: AnnotationsBody) -> ExperimentOut:
    """Changes name, tags, notes, priority, or archives it, in whatever state it is; the spec stays as submitted."""
    sound({name: value for name, value in body.items() if name != "notes"} if isinstance(body, dict) else body)
    given = parsed(Annotations, body)
    values = {name: getattr(given, name) for name in CLEARED if name in given.model_fields_set}
    with writing() as session:
        row = find(session, experiment_id, lock=True)
        wanted = {name: CLEARED[name] if value is None else value for name, value in values.items()}
        changed = {name: value for name, value in wanted.items() if getattr(row, name) != value}
        for name, value in changed.items():
            setattr(row, name, value)
        if changed:
            row.search, row.updated_at = folded(row.name), now()
            journal.write(session, row.id, "edited", attempt=row.attempt, detail=", ".join(changed))
        return shown(row)
