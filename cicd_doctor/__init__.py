"""Checks whether a server, a token and a project are set up for the commands.

From Python:

    from cicd_doctor.checks import run_checks
    from cicd_doctor.findings import Questions

    findings = run_checks(connection, Questions(projects=("group/name",)))
"""
