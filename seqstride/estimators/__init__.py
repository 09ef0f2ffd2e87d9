"""Estimators for sktime and scikit-learn.

`series` and `tabular` hold the interfaces to both libraries; `network`, `settings` and `trainer` are what they share.
"""

from seqstride.errors import require

for _package in ("sktime", "sklearn", "pandas", "scipy", "tqdm"):
    require(_package, "series")
