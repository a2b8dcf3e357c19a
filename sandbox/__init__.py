"""An embedded GitLab for one machine: what the demo and the functional tests talk to."""
