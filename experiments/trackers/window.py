"""Sums over the steps since the last report, which become the scalars of the next one."""

import dataclasses
import time

import numpy as np

from dataseg_jax.objective.objective import QueryKinds
from dataseg_jax.objective.terms import TERMS

KINDS = tuple(field.name for field in dataclasses.fields(QueryKinds))


class Window:
    """Of the metrics of steps, by dataset; datasets are counted from 0."""

    def __init__(self, datasets: int):
        self._datasets = datasets
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self.began = time.perf_counter()
        self._waited, self._steps, self._skipped, self._norm = 0.0, 0, 0.0, 0.0
        keys = "loss", *TERMS, "steps", "targets", "unmatched", "slots", "images", "read", "dropped"
        self._sums = {key: np.zeros(self._datasets) for key in (*keys, *KINDS)}

    def add(self, metrics, waited: float, host: dict[str, np.ndarray]) -> None:
        """Takes one step; the arguments as of `Telemetry.record`."""
        self._waited += waited
        self._steps += 1
        self._skipped += float(metrics.skipped)
        counts = metrics.diagnostics
        present = counts.images > 0
        if not metrics.skipped:
            self._norm += float(metrics.gradient_norm)
            for key, value in {"loss": metrics.loss_by_task, **metrics.terms_by_task}.items():
                self._sums[key] += np.where(present, value, 0)
            self._sums["steps"] += present
        for key in ("targets", "unmatched", "slots", "images"):
            self._sums[key] += getattr(counts, key)
        for key in KINDS if counts.kinds is not None else ():
            self._sums[key] += getattr(counts.kinds, key)
        np.add.at(self._sums["read"], host["task"], 1)
        np.add.at(self._sums["dropped"], host["task"], host["dropped"])

    def dropped(self, names: list[str]) -> dict[str, int]:
        """Dataset -> targets that did not fit into the slots, where there are any."""
        return {names[t]: int(self._sums["dropped"][t]) for t in np.flatnonzero(self._sums["dropped"])}

    def by_dataset(self, names: list[str]) -> dict[str, dict[str, float]]:
        """Dataset -> means of its loss and terms over the steps that had images of it, and shares of its targets."""
        s, out = self._sums, {}
        for t in np.flatnonzero(s["steps"]):
            # A term that stays at zero is not of this model or task.
            means = {key: float(s[key][t] / s["steps"][t]) for key in ("loss", *TERMS) if key == "loss" or s[key][t]}
            shares = {
                "unmatched_targets": float(s["unmatched"][t] / max(s["targets"][t], 1)),
                "slots_after_merge": float(s["slots"][t] / max(s["images"][t], 1)),
                "dropped_targets": float(s["dropped"][t] / max(s["read"][t], 1)),  # Of this host's images.
            }
            for kind in ("things", "stuff"):
                if s[kind][t]:  # Counted in models with conditional queries alone.
                    shares[f"{kind}_by_conditional_queries"] = float(s[f"{kind}_conditional"][t] / s[kind][t])
            out[names[t]] = means | shares
        return out

    def overall(self, batch_size: int) -> dict[str, float]:
        """Speed, the share of time that steps waited for input, the mean norm of the gradient, skipped steps."""
        elapsed = max(time.perf_counter() - self.began, 1e-9)
        return {
            "images_per_second": self._steps * batch_size / elapsed,
            "input_share": self._waited / elapsed,
            "gradient_norm": self._norm / max(self._steps - self._skipped, 1),
            "skipped_steps": self._skipped,
        }
