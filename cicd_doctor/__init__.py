"""The doctor: what is wrong with the set-up, said before a pipeline fails over it.

From Python:

    from cicd_doctor.examine import examine
    from cicd_doctor.model import Questions

    findings = examine(GitLab(connection), Questions(projects=("group/name",)))
"""
