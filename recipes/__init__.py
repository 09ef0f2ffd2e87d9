"""The training recipes: `<set>/<task>/` with `train.py`, `hparams/`, `README.md` and `results/`."""
