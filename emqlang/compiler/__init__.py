"""From expressions to values on a network's statistics: plan.compile, then run.run."""
