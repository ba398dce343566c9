import numpy as np

from tests.report.measured import classified, labelled, numbered
from transferkit.report.mistakes import case_gallery, doubtful, mistakes, typical


def test_the_surest_mistake_comes_first():
    measured = classified(n=100)
    found = measured.found
    sure = found.proba.max(axis=1)
    wrong = [i for i in range(100) if found.y_true[i] != found.y_pred[i]]
    expected = sorted(wrong, key=lambda i: -sure[i])[:24]
    shown = mistakes(measured)
    assert [one.image for one in shown] == expected
    first = shown[0]
    assert first.outputs == (found.y_pred[first.image], found.y_true[first.image])
    assert f"({100 * sure[first.image]:.1f} %)" in first.lines[0]
    right = set(range(100)) - set(wrong)
    expected = sorted(right, key=lambda i: sure[i])[:12]
    assert [one.image for one in doubtful(measured)] == expected


def test_typical_images_are_one_of_each_class():
    measured = classified(n=100)
    shown = typical(measured)
    assert [one.outputs for one in shown] == [(0,), (1,), (2,)]
    for one in shown:
        (code,) = one.outputs
        of_class = measured.found.proba[:, code][measured.found.y_true == code]
        assert measured.found.proba[one.image, code] == of_class.max()


def test_of_several_labels_a_decision_is_shown():
    measured = labelled()
    found = measured.found
    shown = mistakes(measured, 5)
    cells = [(one.image, *one.outputs) for one in shown]
    wrong = np.argwhere(found.y_true != found.y_pred)
    sure = np.abs(found.proba - 0.5)
    expected = sorted(map(tuple, wrong.tolist()), key=lambda cell: -sure[cell])[:5]
    assert cells == expected
    assert all(found.y_true[cell[0], cell[1]] == found.y_pred[cell[0], cell[1]] for cell in [
        (one.image, *one.outputs) for one in doubtful(measured)])  # fmt: skip


def test_the_largest_residual_comes_first():
    measured = numbered()
    errors = np.abs(measured.found.errors[:, 0])
    assert [one.image for one in mistakes(measured, 3)] == np.argsort(-errors)[:3].tolist()
    assert [one.image for one in typical(measured, 3)] == np.argsort(errors)[:3].tolist()
    assert doubtful(measured) == []


def test_images_that_are_gone_are_left_out(tmp_path):
    measured = classified(n=30)
    shown = mistakes(measured)
    items = list(measured.images.items)
    items[shown[0].image] = tmp_path / "gone.jpg"
    object.__setattr__(measured.images, "items", tuple(items))
    (gallery,) = case_gallery(measured, shown, "")
    assert len(gallery.pictures) == len(shown) - 1
