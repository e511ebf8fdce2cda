"""Functions that a policy may call while it writes: what prompts and the trainer have to know of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from metapo.errors import DataError, MissingExtra, ModelError, SettingsError
from metapo.rollout import Prompt, as_text
from metapo.settings import TrainSettings


def offer(prompts: Sequence[Prompt], tools: Sequence[Callable[..., Any]]) -> list[Prompt]:
    """The prompts with the schemas of the functions, all of which the trainer offers with each prompt.

    Raises SettingsError for a function whose types and docstring make no schema, DataError for a prompt whose own tools
    are others.
    """
    if not tools:
        return list(prompts)
    schemas = {tool.__name__: _schema(tool) for tool in tools}
    for prompt in prompts:
        own = {str(tool.get("function", tool).get("name")) for tool in prompt.tools}
        if own and own != schemas.keys():
            brought, running = (", ".join(sorted(names)) for names in (own, schemas))
            raise DataError(
                f"the prompt {as_text(prompt.content)[-80:]!r} brings the tools {brought}; those that run are "
                f"{running}, with every prompt. Give the prompts the same, or none."
            )
    return [replace(prompt, tools=tuple(schemas.values())) for prompt in prompts]


def tool_loop(tools: Sequence[Callable[..., Any]], settings: TrainSettings, tokenizer: Any) -> dict[str, Any]:
    """The arguments that make TRL's trainer run the tools; none where there are none.

    The tokenizer learns to read calls in what the model writes. Raises SettingsError, MissingExtra, and ModelError
    where TRL doesn't know how a model with this chat template calls tools.
    """
    if not tools:
        return {}
    if settings.engine.algorithm != "grpo":
        raise SettingsError(f"engine.algorithm {settings.engine.algorithm} runs no tools: use grpo, or leave them out")
    if find_spec("jmespath") is None:
        raise MissingExtra("trl", "running tools")
    from trl.chat_template_utils import (
        add_response_schema,
        get_training_chat_template,
        is_chat_template_prefix_preserving,
        supports_tool_calling,
    )

    try:
        if not supports_tool_calling(tokenizer):
            raise ValueError("its chat template has no place for calls of tools or for their results")
        if not any(getattr(tokenizer, name, None) for name in ("response_template", "response_schema")):
            add_response_schema(tokenizer)
        if not is_chat_template_prefix_preserving(tokenizer):
            get_training_chat_template(tokenizer)
    except ValueError as e:
        raise ModelError(f"{settings.policy.model} can't be trained with tools that run: {e}") from e
    return {"tools": list(tools)}


def _schema(tool: Callable[..., Any]) -> dict[str, Any]:
    from transformers.utils import get_json_schema
    from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException

    try:
        schema: dict[str, Any] = get_json_schema(tool)
    except (DocstringParsingException, TypeHintParsingException) as e:
        raise SettingsError(f"the tool {tool.__name__} can't be offered to a model: {e}") from e
    return schema
