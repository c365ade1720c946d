"""How models tell their fields: a word for each, an example for each, and JSON Schema without what misleads editors."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import Field, GetJsonSchemaHandler
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_T = TypeVar("_T")


def told(description: str, *examples: Any, **more: Any) -> Any:
    """A field with its sentence and its examples; ``more``: alias and bounds, as pydantic's ``Field`` takes them."""
    return Field(description=description, examples=list(examples), **more)


class _OrAbsent:
    """The field may be missing, but is never null."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler(schema)
        kept = [part for part in made.get("anyOf", ()) if part != {"type": "null"}]
        return (
            {**{k: v for k, v in made.items() if k != "anyOf"}, **kept[0]} if len(kept) == 1 else made | {"anyOf": kept}
        )


Absent = Annotated[_T | None, _OrAbsent()]
"""``Absent[str]``: a text, or no such key."""


class SchemaGenerator(GenerateJsonSchema):
    """pydantic's generator, but: no titles made of field names, no ``null`` as a default, names of keys checked."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        for values in made.pop("patternProperties", {}).values():
            made["additionalProperties"] = values
        names = {key: rule for key, rule in self.generate_inner(schema["keys_schema"]).items() if key != "type"}
        return made | ({"propertyNames": names} if names else {})
