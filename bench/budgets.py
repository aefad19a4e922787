"""What a row must keep to: a limit on one of its figures, by itself or against a figure of another row of the same run.

The limits are those the broker was designed for on the reference machine, two virtual cores of which the load generator
has one (docs/performance.md). A slower machine misses them; then compare two runs of one machine instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]
KEPT, MISSED = "kept", "MISSED"


@dataclass(frozen=True)
class Budget:
    figure: str
    limit: float
    at_least: bool = False
    of: tuple[str, str] | None = None  # the limit is a factor of this row's figure

    def verdict(self, figures: Figures, others: Mapping[str, Figures]) -> "Verdict | None":
        """None when the figure, or what it is to be compared with, was not measured."""
        value, limit = figures.get(self.figure), self.limit
        if self.of:
            other = others.get(self.of[0], {}).get(self.of[1])
            if other is None:
                return None
            limit *= other
        return None if value is None else Verdict(self, value, limit)


@dataclass(frozen=True)
class Verdict:
    budget: Budget
    value: float
    limit: float

    @property
    def is_kept(self) -> bool:
        return self.value >= self.limit if self.budget.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.budget.at_least else "<="
        origin = f" ({self.budget.limit:g} x {self.budget.of[1]} of {self.budget.of[0]})" if self.budget.of else ""
        verdict = KEPT if self.is_kept else MISSED
        return f"{verdict}: {self.budget.figure} {short(self.value)} {sign} {short(self.limit)}{origin}"

    def as_json(self) -> dict[str, object]:
        return {
            "figure": self.budget.figure,
            "value": self.value,
            "limit": self.limit,
            "at_least": self.budget.at_least,
            "kept": self.is_kept,
        }


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def at_most(figure: str, limit: float, of: tuple[str, str] | None = None) -> Budget:
    return Budget(figure, limit, of=of)


def at_least(figure: str, limit: float, of: tuple[str, str] | None = None) -> Budget:
    return Budget(figure, limit, at_least=True, of=of)


def cpu(us: float) -> Budget:
    """Of the broker, per delivery."""
    return at_most("broker_cpu_us", us)


def rate(per_second: float) -> Budget:
    return at_least("consumed_per_second", per_second)
