"""`python -m cicd_doctor`."""

from cicd_doctor.cli import main

main()
