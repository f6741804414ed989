"""Lie groups acting on states and actions; subclass :class:`LieGroup` to add one."""

from hgm.groups.affine import Affine
from hgm.groups.base import LieGroup
from hgm.groups.compact import Compact
from hgm.groups.gl import GL
from hgm.groups.product import Product
from hgm.groups.so import SO

__all__ = ["GL", "SO", "Affine", "Compact", "LieGroup", "Product"]
