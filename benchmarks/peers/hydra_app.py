"""Hydra with its joblib launcher: python hydra_app.py --multirun hydra/launcher=joblib 'index=range(0,60)'"""

from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore


@dataclass
class Config:
    index: int = 0


ConfigStore.instance().store(name="config", node=Config)


@hydra.main(version_base=None, config_path=None, config_name="config")
def main(config: Config) -> None:
    from notebook import run  # in the worker process, once

    run(config.index)


if __name__ == "__main__":
    main()
