"""Writes `src/answers.ts`: the types of what goes over the wire, as metapo.viewing.answers has them.

.venv/bin/python web/write_answers.py
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from metapo.viewing import answers

PATH = Path(__file__).parent / "src" / "answers.ts"
HEAD = "/** What goes over the wire, written by web/write_answers.py from metapo.viewing.answers. */\n"


class Sent(GenerateJsonSchema):
    """What is sent has every field, also where it has a default."""

    def field_is_required(self, *args: Any, **kwargs: Any) -> bool:
        return self.mode == "serialization" or super().field_is_required(*args, **kwargs)


def write() -> str:
    models = [
        model
        for _, model in inspect.getmembers(answers, inspect.isclass)
        if issubclass(model, BaseModel) and model.__module__ == answers.__name__
    ]
    _, schema = models_json_schema(
        [(model, "validation" if model.__name__.endswith("Request") else "serialization") for model in models],
        schema_generator=Sent,
    )
    return "\n".join([HEAD, *(_declared(name, shape) for name, shape in sorted(schema["$defs"].items()))])


def _declared(name: str, shape: Mapping[str, Any]) -> str:
    if "properties" not in shape:
        return f"export type {_plain(name)} = {_type(shape)};\n"
    required = set(shape.get("required", ()))
    fields = [
        f"  {field}{'' if field in required else '?'}: {_type(inner)};" for field, inner in shape["properties"].items()
    ]
    return "\n".join([f"export interface {_plain(name)} {{", *fields, "}", ""])


def _type(shape: Mapping[str, Any]) -> str:
    """A JSON schema as a TypeScript type; raises KeyError for what these models don't use."""
    if "$ref" in shape:
        return _plain(shape["$ref"].rpartition("/")[2])
    if "const" in shape:
        return _literal(shape["const"])
    if "enum" in shape:
        return " | ".join(_literal(value) for value in shape["enum"])
    for several in ("anyOf", "oneOf"):
        if several in shape:
            return " | ".join(dict.fromkeys(_type(one) for one in shape[several]))
    match shape.get("type"):
        case "array":
            return _array(shape)
        case "object":
            return f"Record<string, {_type(inner)}>" if _is_typed(inner := shape["additionalProperties"]) else _ANYTHING
        case None:
            return "unknown"
        case simple:
            return {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}[
                simple
            ]


_ANYTHING = "Record<string, unknown>"


def _is_typed(inner: Any) -> bool:
    return isinstance(inner, dict) and bool(inner)


def _array(shape: Mapping[str, Any]) -> str:
    if "prefixItems" in shape:
        return f"[{', '.join(map(_type, shape['prefixItems']))}]"
    inner = _type(shape["items"])
    return f"({inner})[]" if " | " in inner else f"{inner}[]"


def _literal(value: str) -> str:
    return f'"{value}"'


def _plain(name: str) -> str:
    """`Criterion-Output` is what others call a criterion; `Criterion-Input` may leave defaults out."""
    return name.removesuffix("-Output").replace("-", "")


if __name__ == "__main__":
    PATH.write_text(write())
