"""Every protocol of segmentation a second time, in float64 and plain formulas.

Each takes the settings, the levels' maps and the targets, and the maps of test images; it
returns their scores at the px of the network's input. Resizing is a product with a matrix, batch
norm, loss and AdamW are written out; only the gradients are autograd's, and the starts torch's.
"""

import numpy as np
import torch
from torch import nn

__all__ = ["PLAIN_SEGMENTATION", "stretched"]

VOID = -1


def stretched(maps, size):
    """Bilinear resizing from edge to edge, as a product with a matrix for each axis."""
    rows, columns = (matrix(n, out) for n, out in zip(maps.shape[2:], size, strict=True))
    return torch.einsum("Hh,bchw,Ww->bcHW", rows, maps, columns)


def matrix(n, out):
    found = np.zeros((out, n))
    for i in range(out):
        at = min(max((i + 0.5) * n / out - 0.5, 0), n - 1)
        below = int(np.floor(at))
        above = min(below + 1, n - 1)
        found[i, below] += 1 - (at - below)
        found[i, above] += at - below
    return torch.tensor(found)


def mixed(x, weight, bias=None):
    """A linear layer at every pixel."""
    found = torch.einsum("bchw,kc->bkhw", x, weight)
    return found if bias is None else found + bias[:, None, None]


def convolved(x, weight):
    """3 × 3, padded with zeros: nine shifted linear layers."""
    height, width = x.shape[2:]
    padded = torch.zeros((*x.shape[:2], height + 2, width + 2), dtype=x.dtype)
    padded[:, :, 1:-1, 1:-1] = x
    return sum(
        mixed(padded[:, :, i : i + height, j : j + width], weight[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )


class Norm:
    """Batch norm with running statistics (Ioffe and Szegedy, 2015)."""

    def __init__(self, width):
        self.scale = torch.ones(width, dtype=torch.float64, requires_grad=True)
        self.shift = torch.zeros(width, dtype=torch.float64, requires_grad=True)
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.var = torch.ones(width, dtype=torch.float64)

    def __call__(self, x, is_training):
        mean, var = self.mean, self.var
        if is_training:
            values = x.permute(1, 0, 2, 3).reshape(x.shape[1], -1)
            mean = values.mean(dim=1)
            var = ((values - mean[:, None]) ** 2).mean(dim=1)
            n = values.shape[1]
            self.mean = 0.9 * self.mean + 0.1 * mean.detach()
            self.var = 0.9 * self.var + 0.1 * var.detach() * n / (n - 1)
        at = (None, slice(None), None, None)
        return (x - mean[at]) / torch.sqrt(var[at] + 1e-5) * self.scale[at] + self.shift[at]


def start(tensor):
    return tensor.detach().double().requires_grad_()


def linear_start(width, n_classes):
    layer = nn.Conv2d(width, n_classes, 1)
    return start(layer.weight[:, :, 0, 0]), start(layer.bias)


# ---- the heads ----


def dinov2_head(settings, widths, n_classes):
    norm = Norm(widths[-1])
    layer = nn.Conv2d(widths[-1], n_classes, 1)
    weight = start(torch.normal(0.0, settings.spread, layer.weight.shape)[:, :, 0, 0])
    bias = start(torch.zeros(n_classes))

    def scores(levels, size, is_training):
        return stretched(mixed(norm(levels[-1], is_training), weight, bias), size)

    return scores, [norm.scale, norm.shift, weight, bias]


def linear_head(settings, widths, n_classes):
    norms = [Norm(width) for width in widths]
    layers = [linear_start(width, n_classes) for width in widths]
    shares = start(torch.ones(len(widths)))

    def scores(levels, size, is_training):
        parts = [
            stretched(mixed(norm(level, is_training), *layer), size)
            for norm, layer, level in zip(norms, layers, levels, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        return sum(share * part for share, part in zip(shares, parts, strict=True))

    parameters = [p for n in norms for p in (n.scale, n.shift)] + [p for w in layers for p in w]
    return scores, [*parameters, shares]


def conv_head(settings, widths, n_classes):
    own = settings.width
    weights = [start(nn.Conv2d(w, own, 1, bias=False).weight[:, :, 0, 0]) for w in widths]
    norms = [Norm(own) for _ in widths]
    last = linear_start(own * len(widths), n_classes)

    def scores(levels, size, is_training):
        finest = tuple(levels[0].shape[2:])
        found = []
        for weight, norm, level in zip(weights, norms, levels, strict=True):
            x = norm(mixed(level, weight), is_training)
            found.append(stretched(x / (1 + torch.exp(-x)), finest))
        return stretched(mixed(torch.cat(found, dim=1), *last), size)

    return scores, [*weights, *(p for n in norms for p in (n.scale, n.shift)), *last]


def fpn_head(settings, widths, n_classes):
    own = settings.width
    norms = [Norm(w) for w in widths]
    laterals = [start(nn.Conv2d(w, own, 1, bias=False).weight[:, :, 0, 0]) for w in widths]
    filters = [start(nn.Conv2d(own, own, 3, padding=1, bias=False).weight) for _ in widths]
    inner = [Norm(own) for _ in widths]
    last = linear_start(own * len(widths), n_classes)

    def scores(levels, size, is_training):
        found, above = [], None
        for i in reversed(range(len(levels))):  # from the coarsest
            x = mixed(norms[i](levels[i], is_training), laterals[i])
            if above is not None:
                x = x + stretched(above, tuple(x.shape[2:]))
            above = x
            smooth = torch.clamp(inner[i](convolved(x, filters[i]), is_training), min=0)
            found.append(stretched(smooth, tuple(levels[0].shape[2:])))
        return stretched(mixed(torch.cat(found, dim=1), *last), size)

    parameters = [p for n in (*norms, *inner) for p in (n.scale, n.shift)]
    return scores, [*parameters, *laterals, *filters, *last]


# ---- the training ----


def loss_of(scores, target, counts_void):
    """Mean of minus the log of the softmax at the true class."""
    known = target != VOID
    largest = scores.max(dim=1, keepdim=True).values
    log = scores - largest - torch.log(torch.exp(scores - largest).sum(dim=1, keepdim=True))
    index = torch.where(known, target, 0)
    picked = torch.gather(log, 1, index[:, None])[:, 0]
    return -(picked * known).sum() / (target.numel() if counts_void else known.sum())


def poly(settings, n):
    """Rates and batches: only whole batches; a warm-up that multiplies a line to 0."""
    generator, step = torch.Generator().manual_seed(0), 0
    while step < settings.steps:
        order = torch.randperm(n, generator=generator)
        for batch in order.split(settings.batch_size):
            if len(batch) < settings.batch_size or step == settings.steps:
                break
            rate = settings.lr * (1 - step / settings.steps) ** settings.power
            if step < settings.warmup_steps:
                share = 1 - step / settings.warmup_steps
                rate *= 1 - share * (1 - settings.warmup_start)
            yield batch, rate
            step += 1


def cosine(settings, n):
    generator = torch.Generator().manual_seed(0)
    for epoch in range(settings.epochs):
        half = (1 + np.cos(np.pi * epoch / settings.epochs)) / 2
        rate = settings.least_lr + (settings.lr - settings.least_lr) * half
        for batch in torch.randperm(n, generator=generator).split(settings.batch_size):
            yield batch, rate


def trained(head, schedule):
    def run(settings, levels, targets, test, n_classes):
        torch.manual_seed(0)
        scores, parameters = head(settings, [x.shape[1] for x in levels], n_classes)
        maps = [torch.tensor(x, dtype=torch.float64) for x in levels]
        target = torch.tensor(targets, dtype=torch.int64)
        size = tuple(target.shape[1:])
        first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        for t, (rows, rate) in enumerate(schedule(settings, len(target)), start=1):
            value = loss_of(
                scores([x[rows] for x in maps], size, True), target[rows], settings.counts_void
            )
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            with torch.no_grad():
                for i, (p, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    if gradient is None:
                        continue
                    p *= 1 - rate * settings.weight_decay
                    first[i] = 0.9 * first[i] + 0.1 * gradient
                    second[i] = 0.999 * second[i] + 0.001 * gradient**2
                    root = torch.sqrt(second[i] / (1 - 0.999**t)) + 1e-8
                    p -= rate * first[i] / (1 - 0.9**t) / root
        with torch.no_grad():
            return scores([torch.tensor(x, dtype=torch.float64) for x in test], size, False).numpy()

    return run


PLAIN_SEGMENTATION = {
    "dinov2-linear-seg": trained(dinov2_head, poly),
    "dinov2-linear-seg-4k": trained(dinov2_head, poly),
    "torchgeo-seg-linear": trained(linear_head, cosine),
    "torchgeo-seg-conv": trained(conv_head, cosine),
    "torchgeo-seg-fpn": trained(fpn_head, cosine),
}
