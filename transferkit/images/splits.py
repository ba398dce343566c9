"""Recognise splits by the names that people give them."""

import re
import unicodedata

__all__ = ["SPLITS", "USUAL_NAMES", "split_of"]

SPLITS = ("train", "val", "test")
"""The splits' names."""

USUAL_NAMES = "train, val, test (training, valid, dev, testing, test_set and the like mean these)"
"""What a message says of the names that are understood."""

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
# Words that don't tell which split it is. "seg" is Kaggle's own (seg_train/seg_test).
_BESIDE = frozenset(
    (
        *("set", "sets", "data", "dataset", "image", "images", "img", "imgs", "photo", "photos"),
        *(
            "picture",
            "pictures",
            "split",
            "part",
            "folder",
            "dir",
            "subset",
            "samples",
            "seg",
            "cls",
        ),
    )
)


def split_of(text: str) -> str | None:
    """Find the split that a name stands for; None if it stands for none.

    A name means a split if it holds one word for it and, beside that, nothing but words like
    *set*, *data*, *images*, and perhaps a year.

    Parameters
    ----------
    text : str
        A folder's name, or what a table's split column holds; in any case.

    Returns
    -------
    {"train", "val", "test"} or None
        ``"train_augmented"`` is none: it may hold copies of anything.

    Examples
    --------
    >>> [split_of(name) for name in ("Training", "valid", "seg_test", "TestSet", "train2017")]
    ['train', 'val', 'test', 'test', 'train']
    >>> [split_of(name) for name in ("train_augmented", "test positive", "trains", "images")]
    [None, None, None, None]
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = [word for each in re.findall(r"[^\W\d_]+|\d+", plain) for word in _parts(each)]
    found = {_WORDS[word] for word in words if word in _WORDS}
    others = [word for word in words if word not in _WORDS and word not in _BESIDE]
    is_year = [len(word) == 4 and word.isdigit() for word in others]
    return found.pop() if len(found) == 1 and all(is_year) and len(others) <= 1 else None


def _parts(word: str) -> list[str]:
    """Split a word that is two words written as one, such as ``trainset``."""
    for beside in _BESIDE:
        if word.endswith(beside) and (first := word.removesuffix(beside)) in _WORDS:
            return [first, beside]
    return [word]
