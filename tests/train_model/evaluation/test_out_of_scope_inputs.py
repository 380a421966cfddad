"""Images of anything but a scene: of the right form, each its own, and the same in every run."""

import numpy as np

from train_model.evaluation.out_of_scope_inputs import OBJECTS, scikit_image_photographs, synthetic_images


def test_synthetic_images_are_different_and_reproducible():
    images = synthetic_images(32, each=3)
    for kind, drawn in images.items():
        assert drawn.shape == (3, 32, 32, 3) and drawn.dtype == np.uint8
        assert len(np.unique(drawn.reshape(3, -1), axis=0)) == 3, kind
        assert np.array_equal(drawn, synthetic_images(32, each=3)[kind])


def test_photographs_of_other_things():
    assert scikit_image_photographs(32).shape == (len(OBJECTS), 32, 32, 3)
