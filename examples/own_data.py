"""Write data/wine.npz, the data of examples/own_data.yaml: 13 measurements of 178 wines of three growers."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine

wine = load_wine()
Path("data").mkdir(exist_ok=True)
np.savez("data/wine.npz", x_train=wine.data, y_train=wine.target, classes=wine.target_names)
