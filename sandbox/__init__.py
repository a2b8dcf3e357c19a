"""An embedded GitLab for one machine: what the demo and the functional tests talk to."""

from sandbox.agenda import Slow
from sandbox.clocks import ManualClock, ShiftedClock
from sandbox.faults import Fault
from sandbox.model import Access, ScriptedJob, ScriptedPipeline
from sandbox.world import Sandbox

__all__ = [
    "Access",
    "Fault",
    "ManualClock",
    "Sandbox",
    "ScriptedJob",
    "ScriptedPipeline",
    "ShiftedClock",
    "Slow",
]
