"""Request bodies that several routes take."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from ncore.presets import PRESETS
from ncore.spec import NetworkSpec, UfmSpec


class PresetRequest(BaseModel):
    """A preset by name, with dotted paths changed: {"preset": "fig1", "set": {"optimizer.steps": 500}}."""

    model_config = ConfigDict(extra="forbid")
    preset: Annotated[str, Field(json_schema_extra={"enum": list(PRESETS)})]
    set: dict[str, Any] = {}


SpecBody = Annotated[
    Any, Body(), PlainValidator(lambda body: body, json_schema_input_type=UfmSpec | NetworkSpec | PresetRequest)
]
