"""From expressions to values on a network's statistics: `compile(programs).run(statistics)`."""

from emqlang.compiler.cache import Cache
from emqlang.compiler.plan import Plan, compile, describe

__all__ = ["Cache", "Plan", "compile", "describe"]
