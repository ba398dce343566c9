"""Heads that predict for every pixel or object, from the maps of a frozen backbone.

Each task has a folder here, and each file of it is one head.
"""

__all__: list[str] = []
