"""From prepared photographs to a trained classifier: features, heads, sweeps, evaluation, conversion."""
