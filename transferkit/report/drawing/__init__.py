"""Draw onto pictures: masks, boxes, heat, and plates with their names."""

__all__: list[str] = []
