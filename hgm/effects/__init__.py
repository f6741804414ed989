"""Random effects of clusters: their exact or sampled posterior, and how much they differ."""
