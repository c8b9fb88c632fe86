"""The 1,797 handwritten digits of 8×8 pixels that scikit-learn contains, which need no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from odenet.data.extras import data_package
from odenet.data.split import Split

_TEST_IMAGES = 360


def read_digits(_root: Path, _download: bool) -> tuple[Split, Split, tuple[str, ...]]:
    """Return the training split (1,437 images), test split (360 images) and class names of scikit-learn's digits.

    Each pixel counts the dark pixels in a 4×4 block of a 32×32 bitmap, 0..16; here 16 becomes 255. The source has no
    such split; this one is fixed and stratified. It mixes the 13 writers, so the accuracy on the test split is higher
    than on unseen writers: the set is good for comparing methods, not for comparison with published numbers.

    Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository (1998),
    its test set; `sklearn.datasets.load_digits`.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    digits = data_package("sklearn.datasets").load_digits()
    images = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
    whole = Split(images, torch.from_numpy(digits.target.astype(np.int64)))
    split = data_package("sklearn.model_selection").train_test_split
    train, test = split(np.arange(len(whole)), test_size=_TEST_IMAGES, stratify=digits.target, random_state=0)
    return whole.subset(torch.from_numpy(train)), whole.subset(torch.from_numpy(test)), tuple("0123456789")
