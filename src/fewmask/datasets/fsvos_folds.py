"""The four folds of few-shot video segmentation on YouTube-VIS 2019 (DAN; VIPMT, section 4.1).

Class c is novel in fold f exactly if (c - 1) mod 4 = f - 1: ten novel classes a fold, the other thirty are for
training.
"""

from fewmask.datasets.class_names import YTVIS_2019
from fewmask.errors import ConfigError

FOLDS = (1, 2, 3, 4)


def novel_classes(fold: int) -> tuple[int, ...]:
    """YouTube-VIS 2019 ids of the ten classes that ``fold`` (1 to 4) is tested on.

    Raises:
        ConfigError: no such fold.
    """
    if fold not in FOLDS:
        raise ConfigError(f"fold {fold} does not exist; YouTube-FSVOS has folds 1 to 4")
    return tuple(category for category in YTVIS_2019 if (category - 1) % 4 == fold - 1)


def base_classes(fold: int) -> tuple[int, ...]:
    """YouTube-VIS 2019 ids of the thirty classes that ``fold`` (1 to 4) is trained on.

    Raises:
        ConfigError: no such fold.
    """
    novel = novel_classes(fold)
    return tuple(category for category in YTVIS_2019 if category not in novel)
