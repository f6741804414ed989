"""Whether the group keeps the set of actions, and what the reward owes to the action."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.evidence.statement import Statement, Tolerance, ignorance, measure, nothing
from hgm.symmetry.relevance import ActionTerms
from hgm.symmetry.samples import Samples
from hgm.symmetry.scaled import Spanned

ACTION_SET = Tolerance(small=4e-3, large=6e-2, approximate=2e-2)
"""Shares of the motion that the strongest actions cause."""
ACTION_TERMS = Tolerance(small=1e-3, large=1e-2, approximate=1e-2)
"""Shares of the rewards' variance."""

_ELEMENTS, _POINTS, _CHOICES = 8, 60, 400
_TOP = 8  # one in so many actions is among the strongest
_MOVES = 1e-2  # of the largest singular value: less is an error
_SAME_WAY = 0.95  # cosine of two actions that have one direction
_EDGE, _SHARP = 0.95, 0.01  # actions within 5% of the largest: 1 in 100 is more than a tail has


def keeps_actions(
    model: DynamicsModel,
    generators: Tensor,
    action_generators: Tensor,
    coords: Tensor,
    train: Samples,
    held: Samples,
    inherited: bool = False,
) -> Statement:
    r"""Whether what an action does can be done by another one, after the group has acted.

    A box of actions is not kept by a rotation. For the strongest of held-out `(s, a)` and elements
    all over the group, the nearest displacement to :math:`L_g f(s, a)` is sought among those of
    actions that were seen, at :math:`L_g s`. The effect is the square of the distance, less that
    from there to the next one, as a share of the motion that strong actions cause. An
    action counts only if shorter ones of its direction were seen: otherwise no data say what is
    possible there. Where the actions' distribution has no edge, nothing bounds them.

    Where tasks inherit dynamics of their own, task g does to :math:`K_g a` what the base task does
    to :math:`a`. As :math:`g` goes all over the group, what the base task would do to
    :math:`K_g a` must be what it does to an action that was seen; states stay where they are.

    Args:
        model: The dynamics; those of the base task where they are inherited.
        generators: Scaled state generators, ``(d, k, k)``.
        action_generators: Scaled action generators, ``(d, m, m)``.
        coords: Coordinates of the tasks, ``(N, d)``.
        train: Scaled training transitions.
        held: Scaled held-out ones; their states in the base task's frame where that is needed.
        inherited: Whether tasks inherit dynamics of their own.
    """
    seen = train.action.flatten(0, 1)
    if float(action_generators.abs().max()) == 0 or not _has_edge(seen):
        return nothing(ACTION_SET)
    n = held.state.shape[-1]
    state, action = (part.flatten(0, 1) for part in (held.state, held.action))
    # The strongest actions reach the edge of the set.
    moves = model.values(torch.cat((state, action), -1)).mean(0)
    strength = ((moves - moves.mean(0)) / model.scale).norm(dim=-1)
    strongest = strength.argsort(descending=True)[: max(2, min(_POINTS, len(state) // _TOP))]
    state, action = state[strongest], action[strongest]
    choices = seen[:: max(1, len(seen) // _CHOICES)]
    where = Spanned(generators, n).spread(_ELEMENTS + 1, coords / 2)
    element, turn = (lie.exp(lie.hat(where, basis)) for basis in (generators, action_generators))
    if inherited:
        element = torch.eye(element.shape[-1]).to(element).expand_as(element)
    moved, turned = lie.act(element, state), lie.act(turn, action)
    # Only the actions that the group moves are exchanged, and have a direction.
    turning = _moved_by(action_generators)
    choices, own = choices @ turning, turned @ turning
    twins = model.values(torch.cat((state, action), -1))
    here = twins.mean(0)
    wanted = here @ element[:, :n, :n].mT  # (E, P, n); the first element is the identity
    if inherited:
        asked = torch.cat((moved, turned), -1)
        wanted = model.values(asked.flatten(0, 1)).mean(0).view_as(wanted)
    still = torch.cat((moved, turned - own), -1).flatten(0, 1)
    shifts = torch.nn.functional.pad(choices, (n, 0))
    reached = model.values_of_sums(still, shifts).mean(0).unflatten(0, moved.shape[:2])
    unit = model.scale
    distance = ((reached - wanted[..., None, :]) / unit).square().sum(-1)
    # Where nothing is moved the action itself is among the choices, or nearly so.
    itself = (choices - own[:, :, None]).square().sum(-1) < 1e-20
    nearest, chosen = torch.where(itself, torch.inf, distance).min(-1)
    # Choices are not dense: as far as the chosen one is from the next, nothing is out of reach.
    there = torch.take_along_dim(reached, chosen[..., None, None], 2)
    apart = ((reached - there) / unit).square().sum(-1)
    spacing = apart.scatter(-1, chosen[..., None], torch.inf).amin(-1)
    middle = reached[0].mean(1)
    caused = ((here - middle) / unit).square().sum(-1).mean()
    lengths = choices.norm(dim=-1)
    length = own.norm(dim=-1, keepdim=True)
    cosine = (own @ choices.mT) / (length * lengths).clamp_min(1e-12)
    shorter = (cosine > _SAME_WAY) & (lengths > length / 2) & (lengths <= length)
    told = shorter.any(-1)
    excess = torch.where(told, nearest - spacing, 0.0)[1:]
    told = told[1:].double()
    if float(told.mean()) < 0.1:
        return ignorance(ACTION_SET)
    count = told.sum(0)
    some = count > 0
    excess = excess.sum(0)[some] / count[some]
    # The strongest displacements are those that the model makes too large, here and not there.
    error = ((twins[0] - twins[1]) / unit / 2).square().sum(-1).mean()
    doubt = float(error / caused.clamp_min(1e-300))
    return measure(excess, caused.expand_as(excess), ACTION_SET, doubt)


def _moved_by(action_generators: Tensor) -> Tensor:
    """Projection onto the actions that generators ``(d, m, m)`` move or move to, ``(m, m)``."""
    both = torch.cat((action_generators, action_generators.mT), 0).flatten(0, 1)
    _, values, rows = torch.linalg.svd(both, full_matrices=False)
    some = rows[values > _MOVES * values[0]]
    return some.mT @ some


def _has_edge(action: Tensor) -> bool:
    """Whether many actions lie at the largest values of some coordinate."""
    size = action.abs()
    return bool(((size > _EDGE * size.amax(0)).double().mean(0) > _SHARP).any())


def inherited_terms(
    terms: ActionTerms | None,
    action_elements: Tensor,
    held: Samples,
    bases: Tensor | None = None,
) -> Statement:
    r"""Whether what rewards owe to the action is inherited, :math:`g_i(K_i a) = g_0(a)`.

    Products of the deviations that either half of the data shows by itself.

    Args:
        terms: The terms; None where rewards do not depend on actions.
        action_elements: Scaled :math:`K_i`, ``(N, m, m)``.
        held: Scaled held-out transitions.
        bases: The base task of every task, ``(N,)``; None: the first one.
    """
    if terms is None:
        return nothing(ACTION_TERMS)
    action = held.action
    carried = lie.act(action_elements, action)
    there, here = terms.table(carried), terms.table(action)
    base = terms.halves[:, :1] if bases is None else terms.halves[:, bases]
    products = []
    for weights, own in zip(terms.halves, base, strict=True):
        deviation = (there @ weights[..., None])[..., 0] - (here @ own[..., None])[..., 0]
        products.append(deviation - deviation.mean(1, keepdim=True))
    product = (products[0] * products[1])[1:]
    variance = held.reward.var(1).mean().expand_as(product)
    return measure(product.mT.flatten(), variance.mT.flatten(), ACTION_TERMS)
