r"""What the dynamics say about the part of a generator that rewards do not see."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm.symmetry.invariance import EquivarianceForm

_RIDGE = 0.1  # of the noise's own form: where to look first
_TINY = 1e-6
_NEWEST = 3  # rounds in which the noise is estimated anew
_ROUNDING = 1e-10
_KEPT = 0.5  # of the noise's own square
_CHEAP = 0.01  # of a typical price: as good as nothing
_SLIGHT, _FAR = 0.05, 100.0


class Completion(NamedTuple):
    """Whole generators, on states and actions, in scaled coordinates.

    Attributes:
        entries: Entries of ``(W_S, W_A)``, ``(d, n k + m m)``.
        deviation: Their standard deviations; 0 for what was given, ``(d, n k + m m)``.
        given: Which entries were given, ``(n k + m m,)``.
    """

    entries: Tensor
    deviation: Tensor
    given: Tensor

    def free_entries(self, dim_state: int, size: int) -> Tensor:
        """Unit matrices of the entries of state generators that were not given, ``(u, k, k)``."""
        free = (~self.given[: dim_state * size]).nonzero()[:, 0]
        units = self.entries.new_zeros(len(free), size * size)
        units[torch.arange(len(free)), free] = 1.0
        return units.view(-1, size, size)

    def not_zero(self, sigmas: float) -> Tensor:
        """Free entries that are so many deviations from zero, for any generator, ``(n k + m m,)``.

        Small ones must be 100 deviations away: models of the dynamics have a bias.
        """
        size = self.entries.abs()
        needed = torch.where(size > _SLIGHT, sigmas, _FAR) * self.deviation
        return (size > needed).any(0) & ~self.given


def complete(form: EquivarianceForm, seen: Tensor, index: Tensor) -> Completion:
    r"""The most probable completion of generators whose rows ``index`` are known.

    Rewards that are functions of some coordinates ``y = B s`` fix the rows of these, as
    :math:`B W = w B`. The others, and what the group does to actions, are a linear problem in the
    equivariance form :math:`G`: with free entries `x`, :math:`A x = b`, where `A` is a block of `G`
    and `b` what the given rows leave. Its noise :math:`\Sigma` has the shape of the rows'
    own squares and the size of the form's antisymmetric part at the solution. Entries are a priori
    of order 1 in scaled coordinates, so with :math:`x \sim N(0, 1)`

    .. math:: x = (A \Sigma^{-1} A + 1)^{-1} A \Sigma^{-1} b.

    What the dynamics leave open stays at 0 and keeps a deviation of about 1.

    Args:
        form: Of the dynamics.
        seen: Generators of the seen coordinates, ``(d, q, q)``, or ``(d, k, k)`` for all.
        index: Which rows and columns of the whole they are, ``(q,)``.
    """
    n, size, width = form.dim_state, form.size, len(form.cross)
    given = torch.zeros(width, dtype=torch.bool, device=seen.device)
    rows = torch.zeros(n, size, dtype=torch.bool, device=seen.device)
    own = index[index < n]
    rows[own] = True
    given[: n * size] = rows.flatten()
    known = seen.new_zeros(len(seen), n, size)
    known[:, own[:, None], index] = seen[:, : len(own)]
    start = torch.cat((known.flatten(1), seen.new_zeros(len(seen), width - n * size)), 1)
    parts = [_solve(form, one, given) for one in start]
    entries, deviation = (
        (torch.stack(some) for some in zip(*parts, strict=True)) if parts else (start, start)
    )
    return Completion(entries, deviation, given)


def _solve(form: EquivarianceForm, known: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    free = ~given
    gram = form.gram
    block, target = gram[free][:, free], -gram[free] @ known
    eye = torch.eye(len(block)).to(block)
    mean = block.diagonal().mean().abs().clamp_min(1e-300)
    noise = form.noise[free][:, free]
    # Errors of the gradient: a twin's rows times what the other errs by.
    values, vectors = torch.linalg.eigh(block + noise)
    shape = vectors * values.clamp_min(_TINY * values[-1].clamp_min(1e-300)) @ vectors.mT
    solution = torch.linalg.solve(block + _RIDGE * noise + _TINY * mean * eye, target)
    turned = (form.cross - form.cross.mT) / 2
    best, whole = None, known.clone()
    for _ in range(_NEWEST):
        whole[free] = solution
        error = (turned @ whole)[free]
        size = (error @ torch.linalg.solve(shape, error) / len(error)).clamp_min(0.0)
        if best is not None and size >= best:
            break
        best = size
        spread = size * shape + (_ROUNDING * mean**2) * eye
        weighted = torch.linalg.solve(spread, block).mT
        precision = weighted @ block + eye
        solution = torch.linalg.solve(precision, weighted @ target)
        covariance = torch.linalg.inv(precision)
    whole[free] = solution
    deviation = torch.zeros_like(known)
    deviation[free] = covariance.diagonal().clamp_min(0.0).sqrt()
    return whole, deviation


class Shadow(NamedTuple):
    """What the dynamics say about the seen entries alone, once all others follow.

    Attributes:
        gram: The form without the bias of noise, ``(c, c)``.
        noise: The mean square of its noise, ``(c, c)``.
        follow: All entries that seen ones entail, ``(n k + m m, c)``.
        free: Which entries may be other than 0, ``(n k + m m,)``.
    """

    gram: Tensor
    noise: Tensor
    follow: Tensor
    free: Tensor

    @property
    def price(self) -> Tensor:
        """Positive semidefinite, of trace `c`: a direction that is broken costs about 1."""
        values, vectors = torch.linalg.eigh(self.gram + self.noise / 2)
        price = vectors * values.clamp_min(0.0) @ vectors.mT
        return price * (len(price) / price.trace().clamp_min(1e-300))

    def kept(self, basis: Tensor) -> Tensor:
        """Combinations of generators that the dynamics keep, as far as one can tell, ``(p, D)``.

        Of the directions in which the form is largest or smallest relative to its noise, those in
        which it is no more than half of it.

        Args:
            basis: Seen entries of the generators, ``(D, c)``.
        """
        gram, noise = (basis @ form @ basis.mT for form in (self.gram, self.noise))
        size = gram.diagonal().abs().mean() + noise.diagonal().mean()
        eye = torch.eye(len(gram)).to(gram)
        root = torch.linalg.cholesky(noise + _CHEAP * size.clamp_min(1e-300) * eye)
        half = torch.linalg.solve_triangular(root, gram, upper=False)
        whitened = torch.linalg.solve_triangular(root, half.mT, upper=False)
        values, vectors = torch.linalg.eigh((whitened + whitened.mT) / 2)
        directions = torch.linalg.solve_triangular(root.mT, vectors, upper=True).mT
        some = directions[values < _KEPT]
        return torch.linalg.qr(some.mT).Q.mT if len(some) else some


def shadow(form: EquivarianceForm, index: Tensor) -> Shadow:
    """The form on entries of rows and columns `index`, the others completing them at least cost.

    Entries in the same rows and other columns are 0: rewards do not see these columns.
    """
    n, size = form.dim_state, form.size
    seen = torch.zeros(n, size, dtype=torch.bool, device=form.cross.device)
    own = index[index < n]
    seen[own[:, None], index] = True
    fixed = torch.zeros_like(seen)
    fixed[own] = True
    pad = torch.zeros(len(form.cross) - n * size, dtype=torch.bool, device=seen.device)
    mine = torch.cat((seen.flatten(), pad))
    rest = torch.cat((~fixed.flatten(), ~pad))
    both = form.gram + form.noise / 2
    block = both[rest][:, rest]
    ridge = _TINY * block.diagonal().mean().clamp_min(1e-300)
    block = block + ridge * torch.eye(len(block)).to(block)
    follow = both.new_zeros(len(both), int(mine.sum()))
    follow[mine] = torch.eye(follow.shape[1]).to(follow)
    follow[rest] = -torch.linalg.solve(block, both[rest][:, mine])
    # Exact dynamics leave rounding: far below the form's own size, everything is noise.
    rounding = _TINY * both.diagonal().mean() * torch.eye(follow.shape[1]).to(both)
    gram, noise = (follow.mT @ one @ follow for one in (form.gram, form.noise))
    return Shadow(gram, noise + rounding, follow, mine | rest)
