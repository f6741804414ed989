r"""Group coordinates of many new tasks at once, from a few transitions each.

A new task is the base task carried by one group element :math:`g`, so its rewards are those of the
base task at the points carried back, and an element's loss is

.. math:: r_k = a\,\bigl(R(L_g^{-1} s'_k) + e_k\bigr) + b, \qquad
          \sum_k \tfrac12 \nu \log(1 + e_k^2 / \nu v_k) + \tfrac12 \log v_k, \quad \nu = 9,

with :math:`v_k = \sigma^2(L_g^{-1} s'_k) + \mathrm{var}\,R(L_g^{-1} s'_k)`, where noise and misfit
:math:`\sigma^2` are as large as residuals were there (docs/method.md eq. 11). Errors are normal up
to three deviations and have Cauchy tails beyond, as in :mod:`hgm.symmetry.pooling`, for a smooth
`R` misfits at kinks. The logarithm makes it cost to carry points out of the data.

Candidates all over the group are compared first; Gauss-Newton starts from the likeliest. Steps,
covariances and distances are in the tangent space of the current element,
:math:`L_g \exp(\hat\delta)`: nothing wraps there, and the symmetries of the base task, which no
observation tells, are the same :math:`\hat\delta` for all tasks.
"""

from hgm.adaptation.online import OnlineAdaptation, adapt
from hgm.adaptation.orbits import OrbitAdaptation, Places
from hgm.adaptation.posterior import Posterior

__all__ = ["OnlineAdaptation", "OrbitAdaptation", "Places", "Posterior", "adapt"]
