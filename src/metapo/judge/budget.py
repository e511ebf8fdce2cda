"""What calls to models may cost."""

from typing import ClassVar

from pydantic import Field

from metapo.rubric import Frozen


class Budget(Frozen):
    """Bounds in tokens and US dollars, each None for none. Money is only counted for endpoints with a `price`."""

    field: ClassVar[str] = "budget"
    tokens: int | None = Field(default=None, ge=1)
    usd: float | None = Field(default=None, gt=0)

    def reached(self, tokens: float, usd: float) -> str:
        """Which of the two is used up, as the settings write it; empty while neither is."""
        if self.tokens is not None and tokens >= self.tokens:
            return f"{self.field}.tokens = {self.tokens}"
        if self.usd is not None and usd >= self.usd:
            return f"{self.field}.usd = {self.usd:g}"
        return ""
