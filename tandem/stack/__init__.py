"""The whole stack on one machine, each part a process of its own, watched over by this one."""

from tandem.stack.plan import Counts, Doors, Models, Plan
from tandem.stack.supervisor import Stack

__all__ = ["Counts", "Doors", "Models", "Plan", "Stack"]
