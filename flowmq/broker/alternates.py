"""Which exchanges name an alternate exchange: it is known by name, and may be declared after them, or anew."""

from flowmq.broker.exchanges import DeclaredExchange


class Alternates:
    def __init__(self) -> None:
        self._naming: dict[str, set[DeclaredExchange]] = {}

    def of(self, name: str) -> set[DeclaredExchange]:
        """Those that have it as their alternate."""
        return self._naming.get(name, set())

    def note(self, declared: DeclaredExchange) -> None:
        name = declared.alternate_name
        if name is not None:
            self._naming.setdefault(name, set()).add(declared)

    def forget(self, declared: DeclaredExchange) -> None:
        name = declared.alternate_name
        naming = self._naming.get(name, set()) if name is not None else set()
        naming.discard(declared)
        if name in self._naming and not naming:
            del self._naming[name]
