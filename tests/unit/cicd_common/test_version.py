from importlib.metadata import version

import cicd_common


def test_the_installed_version_equals_the_version_of_the_package() -> None:
    assert version("ci-cd-commands") == cicd_common.__version__
