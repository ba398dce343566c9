"""Start weights of the student, cut from the teacher: a rotation, a choice, least squares.

The outputs of MobileNetV2's blocks are linear, so a stage's stream of d channels may be rotated
freely; its first d' principal components are the student's stream. Hidden channels sit between
two ReLU6 and can't be rotated: the most used are kept. Each projection is then refitted by ridge
regression on the *student's* activations (He et al., 2017), so that errors don't add up.

References
----------
M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
Y. He, X. Zhang, J. Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["inherit", "principal", "rows_of", "streams"]

ROWS = 24_000  # positions that each regression sees
RIDGE = 1e-4  # relative to the mean variance


def rows_of(maps: Tensor, seed: int) -> Tensor:
    """At most ``ROWS`` random positions of ``(N, C, H, W)`` maps, ``(n, C)``."""
    flat = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    generator = torch.Generator().manual_seed(seed)
    return flat[torch.randperm(len(flat), generator=generator)[:ROWS]].double()


def regress(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge ``y ≈ x weight.T + offset``."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, x.T @ y).T
    return weight, mean_y - weight @ mean_x


def principal(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """First ``n`` principal axes ``(n, d)`` of rows ``x`` and their mean."""
    mean = x.mean(0)
    _, vectors = torch.linalg.eigh((x - mean).T @ (x - mean))
    return vectors.flip(1)[:, :n].T, mean


def streams(network: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Linear output maps of each stage but the first, and the final maps, all ``(N, C, H, W)``."""
    x = network.blocks[0](network.bn1(network.conv_stem(images)))
    maps = []
    for stage in network.blocks[1:]:
        x = stage(x)
        maps.append(x)
    return maps, network.bn2(network.conv_head(x))


def copy_norm(target: nn.Module, source: nn.Module, kept: Tensor | slice) -> None:
    """Batch-norm parameters and statistics of the kept channels."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target, name).copy_(getattr(source, name)[kept])


def set_linear(conv: nn.Module, norm: nn.Module, weight: Tensor, offset: Tensor, x: Tensor) -> None:
    """A 1 × 1 convolution and its norm that together compute ``weight x + offset``."""
    conv.weight.copy_(weight[:, :, None, None])
    y = x @ weight.T
    mean, variance = y.mean(0), y.var(0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean + offset)


def set_reading(
    conv: nn.Module,
    norm: nn.Module,
    teacher: tuple[nn.Module, nn.Module],
    kept: Tensor | slice,
    reading: tuple[Tensor, Tensor],
) -> None:
    """A teacher's 1 × 1 convolution that reads ``x ≈ matrix z + offset`` instead of ``x``."""
    matrix, offset = reading
    weight = teacher[0].weight[kept][:, :, 0, 0].double()
    conv.weight.copy_((weight @ matrix)[:, :, None, None])
    copy_norm(norm, teacher[1], kept)
    norm.running_mean.sub_((weight @ offset).to(norm.running_mean.dtype))


def most_used(hidden: Tensor, projection: Tensor, n: int) -> Tensor:
    """The ``n`` hidden channels that move the block's output most, in their old order."""
    use = hidden.std(0) * projection[:, :, 0, 0].double().norm(dim=0)
    return use.topk(n).indices.sort().values


@torch.no_grad()
def inherit(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    projections: list[tuple[Tensor, Tensor]],
) -> None:
    """Fill ``student`` in place.

    Parameters
    ----------
    student, teacher : nn.Module
        timm's MobileNetV2 of two widths, in eval mode, both with ``pad_type="same"``: a shift of
        the maps against one another would spoil the regressions.
    images : Tensor of shape (n, 3, H, W)
        Normalised; some hundreds.
    projections : list of (axes, mean)
        Principal axes of the teacher's stream, for each stage but the first.
    """
    x = teacher.bn1(teacher.conv_stem(images))
    t_first, s_first = teacher.blocks[0][0], student.blocks[0][0]
    hidden = t_first.bn1(t_first.conv_dw(x))
    kept = most_used(rows_of(hidden, 0), t_first.conv_pw.weight, s_first.conv_dw.in_channels)
    student.conv_stem.weight.copy_(teacher.conv_stem.weight[kept])
    copy_norm(student.bn1, teacher.bn1, kept)
    s_first.conv_dw.weight.copy_(t_first.conv_dw.weight[kept])
    copy_norm(s_first.bn1, t_first.bn1, kept)
    x = t_first(x)
    axes, mean = principal(rows_of(x, 0), s_first.conv_pw.out_channels)
    h = rows_of(s_first.bn1(s_first.conv_dw(student.bn1(student.conv_stem(images)))), 0)
    weight, offset = regress(h, (rows_of(x, 0) - mean) @ axes.T)
    set_linear(s_first.conv_pw, s_first.bn2, weight, offset, h)
    z = s_first(student.bn1(student.conv_stem(images)))
    stages = zip(teacher.blocks[1:], student.blocks[1:], projections, strict=True)
    for t_stage, s_stage, (axes, mean) in stages:
        for t_block, s_block in zip(t_stage, s_stage, strict=True):
            x, z = inherit_block(s_block, t_block, x, z, axes, mean)
    reading = regress(rows_of(z, 0), rows_of(x, 0))
    heads = (teacher.conv_head, teacher.bn2)
    set_reading(student.conv_head, student.bn2, heads, slice(None), reading)


def inherit_block(
    s_block: nn.Module, t_block: nn.Module, x: Tensor, z: Tensor, axes: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill one block; ``x`` and ``z`` are the teacher's and the student's stream before it."""
    hidden = t_block.bn2(t_block.conv_dw(t_block.bn1(t_block.conv_pw(x))))
    kept = most_used(rows_of(hidden, 1), t_block.conv_pwl.weight, s_block.conv_dw.in_channels)
    reading = regress(rows_of(z, 0), rows_of(x, 0))
    set_reading(s_block.conv_pw, s_block.bn1, (t_block.conv_pw, t_block.bn1), kept, reading)
    s_block.conv_dw.weight.copy_(t_block.conv_dw.weight[kept])
    copy_norm(s_block.bn2, t_block.bn2, kept)
    out = t_block(x)
    h = rows_of(s_block.bn2(s_block.conv_dw(s_block.bn1(s_block.conv_pw(z)))), 1)
    target = (rows_of(out, 1) - mean) @ axes.T
    if s_block.has_skip:
        target -= rows_of(z, 1)
    weight, offset = regress(h, target)
    set_linear(s_block.conv_pwl, s_block.bn3, weight, offset, h)
    return out, s_block(z)
