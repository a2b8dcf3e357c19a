"""`python -m cicd_common.doctor`."""

from cicd_common.doctor.cli import main

main()
