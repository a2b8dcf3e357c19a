from importlib.metadata import version

import cicd_common


def test_the_installed_version_is_the_packages_own() -> None:
    assert version("ci-cd-commands") == cicd_common.__version__
