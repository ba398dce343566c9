"""`ImageHead` turns a backbone's maps into one prediction per image, and knows its loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferkit.maps import FeatureMaps
from transferkit.pooling import parse_feature, pool
from transferkit.tasks import Task, task_of

__all__ = ["ImageHead", "mean_loss"]


class ImageHead(nn.Module):
    """Pooling, dropout and a linear layer, with the loss that trains them.

    Fine-tuning trains a backbone under it, and so may a loop of your own. Its parameters are
    called as a linear layer's, ``weight`` and ``bias``.

    Parameters
    ----------
    n_features : int
        Length of the pooled features: the layer's width, twice that for ``cls_avg``.
    n_outputs : int
        Classes, labels or numbers.
    task : str, default="classification"
        A name of `transferkit.tasks`.
    feature : str, default="pre_logits"
        What it takes of the maps, ``layer[.pooling]``.
    dropout : float, default=0
        Probability with which a feature is 0 in training.
    label_smoothing : float, default=0
        Share of a class target that is spread over all classes.
    class_weights : sequence of float or Tensor of shape (n_outputs,), optional
        Of the classes' losses.

    Raises
    ------
    ValueError
        If a share isn't within [0, 1), or class weights are not one of at least 0 for each
        class, or stand beside a task that has no use for them.

    Examples
    --------
    >>> from transferkit import create_backbone
    >>> backbone = create_backbone("test_resnet", pretrained=False, image_size=64)
    >>> head = ImageHead(backbone.channels["stage4"], 3, feature="stage4.gem", dropout=0.2)
    >>> head
    ImageHead(96, 3, task='classification', feature='stage4.gem', dropout=0.2)
    >>> optimizer = torch.optim.AdamW([*head.parameters(), *backbone.network.parameters()])
    >>> pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    >>> network = backbone.network.requires_grad_(True)
    >>> outputs = head(network(backbone.normalize(pixels), {head.layer}))
    >>> head.loss(outputs, torch.tensor([0, 2])).backward()
    >>> optimizer.step()
    """

    class_weights: Tensor | None

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        task: str = "classification",
        *,
        feature: str = "pre_logits",
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        super().__init__()
        linear = nn.Linear(n_features, n_outputs)
        self.weight, self.bias = linear.weight, linear.bias
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)
        self.n_features, self.n_outputs = n_features, n_outputs
        self.task, self.feature = task_of(task), parse_feature(feature)
        for word, share in (("dropout", dropout), ("label_smoothing", label_smoothing)):
            if not 0 <= share < 1:
                raise ValueError(f"{word} is {share!r}; give a number from 0 up to, but not, 1")
        self.dropout, self.label_smoothing = dropout, label_smoothing
        weights = _checked_weights(class_weights, self.task, n_outputs)
        if label_smoothing and not self.task.has_one_class:
            raise ValueError(
                f"label_smoothing is for classes, one per image; leave it out for {task}"
            )
        # Not among what is saved: it says how to train, not what was learnt.
        self.register_buffer("class_weights", weights, persistent=False)

    @property
    def layer(self) -> str:
        """Name of the layer that the backbone has to return."""
        return self.feature.source

    @property
    def layers(self) -> tuple[str, ...]:
        """The same as a tuple, as `BackboneWithHead` asks any head for its layers."""
        return (self.layer,)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Outputs ``(B, n_outputs)``, before softmax or sigmoid.

        Parameters
        ----------
        maps : FeatureMaps
            With `layer` among them.
        """
        rows = pool(maps, self.feature)
        if self.dropout:
            rows = functional.dropout(rows, self.dropout, self.training)
        return functional.linear(rows, self.weight, self.bias)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the images.

        Parameters
        ----------
        outputs : Tensor
            From `forward`.
        targets : Tensor
            Class numbers ``(B,)``, or shares of the classes ``(B, n_outputs)``, such as mixup
            gives; for labels 0 and 1, and for numbers the numbers, ``(B, n_outputs)`` of floats.
        """
        return mean_loss(self.task, outputs, targets, self.label_smoothing, self.class_weights)

    def extra_repr(self) -> str:
        """What its repr says."""
        words = f"{self.n_features}, {self.n_outputs}, task={self.task.name!r}"
        words += f", feature={str(self.feature)!r}"
        for name in ("dropout", "label_smoothing"):
            words += f", {name}={getattr(self, name)}" if getattr(self, name) else ""
        if self.class_weights is not None:
            words += f", class_weights={[round(w, 3) for w in self.class_weights.tolist()]}"
        return words


def _checked_weights(
    given: Sequence[float] | Tensor | None, task: Task, n_outputs: int
) -> Tensor | None:
    if given is None:
        return None
    if not task.has_one_class:
        raise ValueError(
            f"class_weights is for classes, one per image; leave it out for {task.name}"
        )
    weights = torch.as_tensor(given, dtype=torch.float32)
    if weights.shape != (n_outputs,) or not bool(
        torch.isfinite(weights).all() & (weights >= 0).all()
    ):
        raise ValueError(
            f"class_weights is {given!r}; give a number of at least 0 for each of {n_outputs} "
            "classes"
        )
    return weights


def mean_loss(
    task: Task,
    outputs: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean loss of a task: cross-entropy of classes or of labels, or squared error.

    Parameters
    ----------
    task : Task
        What is learnt.
    outputs, targets : Tensor
        As for `ImageHead.loss`.
    label_smoothing, class_weights
        As for `ImageHead`.
    """
    outputs = outputs.float()
    if task.has_one_class:
        weights = None if class_weights is None else class_weights.to(outputs.device)
        # Not PyTorch's own mean, which divides by the weights of this batch: in parts of an
        # accumulated batch that hold one class only, it would take the weights away.
        return functional.cross_entropy(
            outputs, targets, weight=weights, label_smoothing=label_smoothing, reduction="sum"
        ) / len(outputs)
    if task.has_several_labels:
        return functional.binary_cross_entropy_with_logits(outputs, targets)
    return functional.mse_loss(outputs, targets)
