"""Which weights a sweep keeps: `save: best`, `all` or `none`. Loads neither torch nor pandas."""

from __future__ import annotations

from dataclasses import dataclass

from dlsweep.errors import ConfigError


@dataclass(frozen=True)
class Keep:
    """What a run needs to know to keep its weights or not, beside the runs of its experiment that came before.

    `which` is best, all, none or shared: as best, of a setting that several experiments have, each of which may find it
    best. Runs are compared by `metric`, of which `better` (max or min) is best. `n_runs` is how many runs the setting
    has, its seeds counted; 0 where that is not known. `place` is that of the run in its experiment: of two that are
    equal, the first is best.
    """

    which: str = "all"
    metric: str = ""
    better: str = ""
    n_runs: int = 0
    place: int = 0

    def __str__(self) -> str:
        return ":".join(map(str, (self.which, self.metric, self.better, self.n_runs, self.place)))

    @classmethod
    def of_text(cls, text: str) -> Keep:
        """Return what `str` has made, or one of the words alone. Raises ConfigError for anything else."""
        which, *rest = text.split(":")
        try:
            metric, better, n_runs, place = rest or ("", "", "0", "0")
            found = cls(which, metric, better, int(n_runs), int(place))
        except ValueError:
            found = cls("")
        if found.which not in ("best", "shared", "all", "none") or (found.which == "best" and not found.metric):
            raise ConfigError(
                f"--keep-weights: {text!r} is not allowed; allowed: all, none, best:METRIC:max:RUNS:PLACE"
            )
        return found
