"""Clean labels, so that texts that look the same are one label."""

import logging
import unicodedata
from collections.abc import Iterable

__all__ = ["clean_label", "warn_of_lookalikes"]

_SHOWN = 5

logger = logging.getLogger(__name__)


def clean_label(text: str) -> str:
    """Return a label without blanks around it, in Unicode's composed form (NFC).

    Systems write an accent as part of its letter or behind it; both look the same.

    Examples
    --------
    >>> clean_label(" cat ")
    'cat'
    """
    return unicodedata.normalize("NFC", text.strip())


def warn_of_lookalikes(labels: Iterable[str]) -> None:
    """Warn of labels that differ only in case, blanks or Unicode form.

    They stay different classes: the user may mean them.

    Parameters
    ----------
    labels : iterable of str
        All of them; each may stand there often.
    """
    alike: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        key = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        alike.setdefault(key, []).append(label)
    groups = [sorted(group) for group in alike.values() if len(group) > 1]
    if groups:
        shown = "; ".join(" and ".join(map(repr, group)) for group in groups[:_SHOWN])
        more = f"; … and {len(groups) - _SHOWN} more" * (len(groups) > _SHOWN)
        logger.warning(
            "labels that look alike are different classes: %s%s; rename them if they are one",
            shown,
            more,
        )
