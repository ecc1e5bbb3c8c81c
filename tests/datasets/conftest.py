import pytest
from hypothesis import settings

settings.register_profile("datasets", deadline=None)  # a busy machine is no failure
settings.load_profile("datasets")


def pytest_configure(config: pytest.Config) -> None:
    # pycocotools 2.0 builds its arrays in a way that NumPy 2 only warns about.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")
