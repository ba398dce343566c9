"""Names of splits: what people write, and what only looks like it."""

import pytest

from transferkit.images.splits import SPLITS, split_of

NAMES = {
    "train": "train training trn train_set trainset train-images train2017 seg_train Train "
    "TRAINING traindata trainingset train.images TrainSet cls-train ｔｒａｉｎ",
    "val": "val valid validation dev Val VALID val_set valset dev_set devset seg_val val2017 "
    "validation_data valimages",
    "test": "test testing tst eval evaluation Test TESTING test_set testset seg_test test2017 "
    "eval_images holdout testdata",
}
OTHERS = (
    "train_augmented train_old trains training2 test1 test_positive evaluated devices values "
    "images set data 2017 cat latest contest protest trained strain train_val train_test _ "
    "vali fold1 augmented positive"
)


@pytest.mark.parametrize("split", SPLITS)
def test_usual_names(split):
    for name in NAMES[split].split():
        assert split_of(name) == split, name
        assert split_of(f" {name}\t") == split
        assert split_of(name.upper()) == split
    assert split_of(f"{split} set") == split_of(f"{split} (images)") == split


@pytest.mark.parametrize("name", [*OTHERS.split(), "", "train 2017 2018"])
def test_others_are_none(name):
    assert split_of(name) is None
