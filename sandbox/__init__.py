"""An embedded GitLab for one machine: what the demo and the functional tests talk to."""

from sandbox.faults import Fault
from sandbox.model import Access, ManualClock, ScriptedJob, ScriptedPipeline
from sandbox.world import Sandbox

__all__ = ["Access", "Fault", "ManualClock", "Sandbox", "ScriptedJob", "ScriptedPipeline"]
