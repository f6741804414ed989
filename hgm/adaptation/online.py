"""Places of tasks in the group, from transitions that arrive one by one or all at once."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.adaptation.candidates import Candidates
from hgm.adaptation.fitting import Fitting
from hgm.adaptation.modes import Modes, tabulate
from hgm.adaptation.observations import Observations, checked
from hgm.adaptation.posterior import Posterior
from hgm.checks import check_int
from hgm.geometry import Geometry
from hgm.geometry.reward_model import RewardModel

_CONVERGED = 1e-4  # square of a step in standard deviations
_STALE = 0.01  # the same, from which sums are taken anew
_FAR = 9.0  # the same, from which modes are fitted roughly first
_SAME = 4.0  # square of a distance in standard deviations, below which two modes are one
_TOLERATED = (
    0.05  # of the rewards' deviation: twice that is what an approximate symmetry may be off
)
_FARTHEST = 9.0  # square of a residual in deviations: kinks may be farther off than that
_HOPELESS = 10.0  # log-likelihood below the best


def adapt(
    geometry: Geometry,
    points: Tensor,
    rewards: Tensor,
    *,
    mask: Tensor | None = None,
    calibrate: bool | None = None,
    num_candidates: int | None = None,
    num_modes: int = 4,
    num_steps: int = 15,
    seed: int = 0,
) -> Posterior:
    r"""Maximum-likelihood coordinates of `T` tasks, from `K` transitions each, in one batch.

    Args:
        geometry: The group, with its reward model.
        points: States reached, ``(T, K, n)``; `K` may be 0. Where rewards see something else, the
            points that :meth:`hgm.geometry.Geometry.observed` makes of transitions; `rewards` too.
        rewards: Rewards, ``(T, K)``.
        mask: Which entries exist, ``(T, K)`` bool; all by default. The others' values are ignored.
        calibrate: See :class:`OnlineAdaptation`, as for the arguments that follow.
        num_candidates: Number of candidates.
        num_modes: Most modes per task.
        num_steps: Most Gauss-Newton steps at a time.
        seed: Seed of the candidates.

    Raises:
        ValueError: If the geometry has no reward model or no dimension, a shape is wrong, an entry
            that exists is not finite, or a number is out of range.

    Example:
        >>> from hgm import lie
        >>> model = RewardModel(  # R(p) = p_0
        ...     torch.zeros(2), torch.eye(2), torch.zeros(1, 2), torch.zeros(1),
        ...     torch.tensor([0.0, 1 / 3, 0.0, 0.0]), torch.zeros(4, 1), torch.tensor(0.01)
        ... )
        >>> plane = lie.so_generators(2)
        >>> geometry = Geometry(
        ...     plane, plane, torch.zeros(1, 1), 2, "found", "so(2)", reward=model
        ... )
        >>> points = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> posterior = adapt(geometry, points, torch.tensor([[0.0, 1.0]]))
        >>> posterior.coords
        tensor([[1.5708]], dtype=torch.float64)
    """
    if points.dim() != 3:
        n = geometry.dim_points
        raise ValueError(f"Expected `points` of shape (T, K, {n}), but got {tuple(points.shape)}.")
    online = OnlineAdaptation(
        geometry,
        len(points),
        calibrate,
        num_candidates=num_candidates,
        num_modes=num_modes,
        num_steps=num_steps,
        seed=seed,
    )
    online.observe(points, rewards, mask)
    return online.posterior


class OnlineAdaptation:
    r"""The same for transitions that arrive one by one.

    Every observation is compared with all candidates once, and added to sums at the modes. A mode
    is fitted to all observations again when they ask it to move by more than a tenth of a standard
    deviation; what is less, the Newton step of its sums does. Computed in float64 on the device of
    the geometry, without gradients.

    Covariances are :math:`H^{-1} + H^{-1} J^T V^{-1} C V^{-1} J H^{-1}`, :math:`H = J^T V^{-1} J`,
    where `C` is the covariance of the errors of `R`: a smooth model is wrong at neighbouring points
    alike, which no number of observations averages out (the sandwich of Huber, 1967; White,
    *Econometrica* 50, 1982).

    Args:
        geometry: The group, with its reward model.
        num_tasks: Number of tasks ``T``.
        calibrate: Whether `a` and `b` are unknown, with flat priors on ``log a`` and `b`; None: if
            they were for the training tasks.
        num_candidates: Candidates beside 0 and the training tasks' coordinates; None: 48 in one
            dimension, 512 in two, 1024 in more.
        num_modes: Most modes per task.
        num_steps: Most Gauss-Newton steps at a time.
        seed: Seed of the candidates.

    Attributes:
        asleep: Tasks whose modes stay as they are, ``(T,)`` bool; None: none. Of these nothing
            should be observed.

    Raises:
        ValueError: If the geometry has no reward model or no dimension or reaches nowhere, or a
            number is out of range.
    """

    def __init__(
        self,
        geometry: Geometry,
        num_tasks: int,
        calibrate: bool | None = None,
        *,
        num_candidates: int | None = None,
        num_modes: int = 4,
        num_steps: int = 15,
        seed: int = 0,
    ) -> None:
        model = _reward_of(geometry)
        num_tasks = check_int("num_tasks", num_tasks, 1)
        check_int("num_steps", num_steps, 1)
        self.geometry, self.num_modes = geometry, check_int("num_modes", num_modes, 1)
        self.calibrate = geometry.calibration is not None if calibrate is None else calibrate
        if self.calibrate and geometry.dim_points > geometry.dim_state:
            raise ValueError(
                "Expected `calibrate` to be false where tasks inherit what their rewards owe to "
                "the action, but rewards are to be scaled and shifted, too."
            )
        default = {1: 48, 2: 512}.get(geometry.dim_algebra, 1024)
        num = default if num_candidates is None else check_int("num_candidates", num_candidates, 2)
        self._candidates = Candidates(geometry, model, num, check_int("seed", seed, 0))
        self._fitting = Fitting(geometry, model, self.calibrate, num_steps)
        new = geometry.generators.double().new_zeros
        points, rewards = new(num_tasks, 0, geometry.dim_points), new(num_tasks, 0)
        self._seen = Observations(points, rewards, new(num_tasks, 0, dtype=torch.bool))
        self._sums = new(7, num_tasks, len(self._candidates.coords))
        self.asleep: Tensor | None = None
        starts = self._starts()
        self._keep(starts, torch.ones_like(starts.row, dtype=torch.bool))

    @torch.no_grad()
    def observe(self, points: Tensor, rewards: Tensor, mask: Tensor | None = None) -> None:
        """Adds transitions: one per task, or `B` per task.

        Args:
            points: States reached, ``(T, n)`` or ``(T, B, n)``; see :func:`adapt`.
            rewards: Rewards, ``(T,)`` or ``(T, B)``.
            mask: Which exist, bool of the same shape; all by default. Others' values are ignored.

        Raises:
            ValueError: If a shape is wrong, or an entry that exists is not finite.
        """
        fitting, num_tasks = self._fitting, len(self._seen.mask)
        points = self.geometry.charted(points)
        some = checked(num_tasks, points, rewards, mask, like=self._seen.points)
        known = self._modes if self._seen.mask.any() else self._modes.at(slice(0))
        self._seen = self._seen.append(some)
        self._sums += self._candidates.compare(*some)
        added, _, _ = fitting.sums(*known[:3], some)
        known = Modes(*known[:3], *(a + b for a, b in zip(known[3:], added[3:], strict=True)))
        newton = fitting.solve(known, self._seen.num_seen)
        best = newton.loss.new_full((num_tasks,), torch.inf)
        best = best.scatter_reduce(0, known.row, newton.loss, "amin")[known.row]
        asked, promising = newton.asked, newton.loss < best + _HOPELESS
        stale = (asked > _STALE) & promising
        # One step is enough for most of them.
        near = (stale & (asked < _FAR)).nonzero()[:, 0]
        moved = fitting.moved(known.at(near), newton.step[near])
        renewed, _, _ = fitting.sums(known.row[near], *moved, self._seen)
        asked[near] = fitting.solve(renewed, self._seen.num_seen).asked
        stale &= asked > _STALE
        fresh = self._starts(known.put(near, renewed), some.mask.any(1))
        if self.asleep is not None:
            stale &= ~self.asleep[known.row]
            fresh = fresh.at(~self.asleep[fresh.row])
        new = torch.ones_like(fresh.row, dtype=torch.bool)
        modes = Modes(*(torch.cat(pair) for pair in zip(known, fresh, strict=True)))
        # Roughly first, with the variance of candidates: far off, all observations look like tails.
        cell = self._candidates.cell
        if cell > fitting.model.noise:
            index = torch.cat((stale & (asked > _FAR), new)).nonzero()[:, 0]
            modes.put(index, fitting.fit(modes.at(index), self._seen, cell, _STALE))
        index = torch.cat((stale, new)).nonzero()[:, 0]
        fitted = fitting.fit(modes.at(index), self._seen, 0.0, _CONVERGED)
        elsewhere = torch.cat((stale, new)).index_fill(0, near, True)
        self._keep(modes.put(index, fitted), elsewhere)

    @property
    @torch.no_grad()
    def posterior(self) -> Posterior:
        """What all transitions so far tell; before the first, the uniform distribution about 0."""
        d, modes = self.geometry.dim_algebra, self._modes
        newton = self._fitting.solve(modes, self._seen.num_seen)
        coords, extra = self._fitting.moved(modes, newton.step)
        table, _ = tabulate(modes.row, len(self._seen.mask), self.num_modes)
        index = table.where(table >= 0, table[:, :1])
        factor, shift = extra[table[:, 0], 0].neg().exp(), extra[table[:, 0], 1]
        return Posterior(
            self.geometry,
            coords[index],
            newton.covariance[index][..., :d, :d],
            torch.softmax(-newton.loss[index].where(table >= 0, torch.inf), 1),
            torch.stack((factor, factor * shift), -1),
            self._fitting.symmetries,
        )

    @property
    @torch.no_grad()
    def evidence(self) -> Tensor:
        """Logarithm of the observations' probability, by Laplace's method, up to a constant."""
        newton = self._fitting.solve(self._modes, self._seen.num_seen)
        table, _ = tabulate(self._modes.row, len(self._seen.mask), self.num_modes)
        return (-newton.loss[table]).where(table >= 0, -torch.inf).logsumexp(1)

    @torch.no_grad()
    def misfit(self, tasks: Tensor) -> Tensor:
        """How far the observations of some tasks are off in the likeliest place, ``(Q,)``.

        Sums of squared residuals in standard deviations, to which 5% of the rewards' own are added;
        9 at most each.

        Args:
            tasks: Indices, ``(Q,)``.
        """
        fitting, modes = self._fitting, self._modes
        table, _ = tabulate(modes.row, len(self._seen.mask), self.num_modes)
        best = modes.at(table[tasks, 0])
        newton = fitting.solve(best, self._seen.num_seen)
        moved = fitting.moved(best, newton.step)
        _, residual, variance = fitting.sums(best.row, *moved, self._seen)
        wide = variance + (_TOLERATED * fitting.model.span).square()
        return ((residual.square() / wide).clamp_max(_FARTHEST) * self._seen.mask[tasks]).sum(1)

    def _starts(self, known: Modes | None = None, told: Tensor | None = None) -> Modes:
        """Likely candidates next to which there is neither a better one nor a known mode.

        And those that are likelier than any known mode, though they be half a cell off: then the
        modes have missed something, such as the next of two mirror images.
        """
        loss, extra = self._score()
        places = self._candidates
        score = -loss - 1e-6 * places.extent  # of equals, the one that moves least
        # A candidate half a cell off loses up to half a nat per observation.
        enough = score.amax(1, keepdim=True) - _HOPELESS - self._seen.num_seen[:, None] / 2
        peak = (score >= score[:, places.near].amax(-1)) & (score > enough)
        if known is not None and told is not None:
            near = places.near[places.nearest(self._fitting.inverse(known.coords))]
            peak[known.row[:, None], near] = False
            most = torch.full_like(score[:, 0], -torch.inf)
            # With the power of 1/a that scores have, else it would depend on the units of rewards.
            power = self._fitting.power(self._seen.num_seen[known.row])
            reached = power * known.extra[:, 0] - known.loss
            most = most.scatter_reduce(0, known.row, reached, "amax")
            missed = most.isfinite() & told
            peak |= (score > most[:, None]) & missed[:, None]
        best = score.where(peak, -torch.inf).topk(min(self.num_modes, score.shape[1]))
        row, slot = (best.values > -torch.inf).nonzero(as_tuple=True)
        index = best.indices[row, slot]
        num, u, new = len(row), self._fitting.num_unknowns, extra.new_zeros
        sums = (new(num), new(num, u), new(num, u, u), new(num, u, self._fitting.model.num_errors))
        return Modes(row, places.coords[index], extra[row, index], *sums)

    def _score(self) -> tuple[Tensor, Tensor]:
        """Losses of the candidates, ``(T, G)``, and their best ``log 1/a`` and ``b/a``."""
        w, v, vv, r, vr, rr, logs = self._sums
        factor, shift = torch.ones_like(w), torch.zeros_like(w)
        power = self._fitting.power(self._seen.num_seen[:, None])
        if self.calibrate:
            total = w.clamp_min(1e-300)
            cross = vr - v * r / total
            square = (rr - r.square() / total).maximum(1e-12 * rr).clamp_min(1e-300)
            # Of 1/2 square factor^2 - cross factor - power log factor.
            best = (cross + (cross.square() + 4 * power * square).sqrt()) / (2 * square)
            factor = torch.where(power > 0, best, factor)
            shift = (factor * r - v) / total
        loss = factor.square() * rr + vv + shift.square() * w + logs
        loss = loss / 2 - factor * (vr + shift * r) + shift * v - power * factor.log()
        return loss, torch.stack((factor.log(), shift), -1)

    def _keep(self, modes: Modes, moved: Tensor) -> None:
        """Sorts modes by task and weight; drops repetitions, and those beyond `num_modes`.

        Args:
            modes: Those of all tasks, in any order.
            moved: Which are not where they were, ``(Q,)`` bool: two others are no repetitions.
        """
        fitting, d, num_tasks = self._fitting, self.geometry.dim_algebra, len(self._seen.mask)
        newton = fitting.solve(modes, self._seen.num_seen)
        order = newton.loss.argsort(stable=True)
        order = order[modes.row[order].argsort(stable=True)]
        modes = modes.at(order)
        step, loss, moved = (one[order] for one in (newton.step, newton.loss, moved))
        table, slot = tabulate(modes.row, num_tasks)
        pairs = torch.combinations(torch.arange(table.shape[1], device=table.device))
        better, worse = table[:, pairs].flatten(0, 1).unbind(1)
        alike = loss[worse] < loss[better] + _HOPELESS  # repetitions have one likelihood
        met = ((worse >= 0) & (moved[better] | moved[worse]) & alike).nonzero()[:, 0]
        if len(met):
            better, worse = better[met], worse[met]
            coords, _ = fitting.moved(modes, step)
            away = fitting.apart(coords[better], coords[worse])
            normal = modes.normal[better][:, :d, :d]
            same = ((away[:, None] @ normal)[:, 0] * away).sum(-1) < _SAME
            kept = torch.ones_like(order, dtype=torch.bool)
            kept[worse[same]] = False
            modes = modes.at(kept)
            _, slot = tabulate(modes.row, num_tasks)
        self._modes = modes.at(slot < self.num_modes)


def _reward_of(geometry: Geometry) -> RewardModel:
    """The geometry's reward model in float64, if tasks can be told by it."""
    if geometry.dim_algebra == 0:
        raise ValueError(
            "Expected `geometry` of dimension 1 or more, but it is trivial: no element carries the "
            "base task into another one."
        )
    if geometry.orbits:
        raise ValueError(
            f"Expected `geometry` of one orbit, but its tasks are on {geometry.num_orbits}: choose "
            "one by `geometry.orbit(k)`, or adapt to all by `hgm.adaptation.OrbitAdaptation`."
        )
    if geometry.reward is None:
        raise ValueError(
            "Expected `geometry` with a reward model, but its `reward` is None: no one model "
            "explained the training tasks."
        )
    reach = geometry.reach.double()
    if not (reach > 0).all():
        raise ValueError(
            "Expected `geometry` to reach out in every direction, but the training tasks' "
            f"coordinates bound those that are not compact to {reach.tolist()}."
        )
    return geometry.reward.each(Tensor.double)
