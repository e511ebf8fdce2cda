"""metapo judge"""

import asyncio

import click

from metapo.cli.common import NumberRange

COLORS = {"good": "green", "advice": "yellow", "bad": "red"}
SIGNS = {"good": "ok", "advice": "--", "bad": "NO"}


@click.group()
def judge() -> None:
    """Look at the models that judge."""


@judge.command()
@click.argument("url")
@click.option("--model", default="default", show_default=True, help="The model's name on the server.")
@click.option("--api-key-env", help="Environment variable that holds the server's key.")
@click.option(
    "--deadline",
    type=NumberRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds for all tries of one request.",
)
def check(url: str, model: str, api_key_env: str | None, deadline: float) -> None:
    """Ask the server at URL what it can do, and say whether it is fit to judge (exit code 1: it is not).

    Some 25 short requests and a long one: context length, JSON schema, log-probabilities, prefix caching, a trial,
    speed, and whether a long prompt is read from its beginning on.
    """
    from pydantic import ValidationError

    from metapo.errors import SettingsError
    from metapo.judge.check import Mark
    from metapo.judge.check import check as findings_of
    from metapo.judge.endpoint import EndpointSettings
    from metapo.judge.openai import OpenAITransport
    from metapo.rubric import describe

    try:
        endpoint = EndpointSettings(
            url=url, model=model, api_key_env=api_key_env, deadline_s=deadline, timeout_s=min(60.0, deadline)
        )
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e

    async def show() -> Mark:
        transport = OpenAITransport(endpoint)
        try:
            async for finding in findings_of(transport):
                mark = finding.mark
                sign = click.style(SIGNS[mark.value], fg=COLORS[mark.value], bold=True)
                click.echo(f"{sign}  {finding.name:<18} {finding.text}")
            return mark
        finally:
            await transport.aclose()

    if asyncio.run(show()) is Mark.BAD:
        raise SystemExit(1)
