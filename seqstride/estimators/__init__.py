"""Estimators for users of sktime and scikit-learn: `series` and `tabular` are the edges, `trainer` what they share."""
