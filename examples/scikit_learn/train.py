"""Gradient boosting of decision trees, without torch: see scikit_learn.yaml"""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split


def train(run, *, max_depth: int = 3, learning_rate: float = 0.1, l2: float = 0.0, n_tree: int = 40, seed: int = 0):
    x, y = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=150, random_state=0, stratify=y)
    x, x_val, y, y_val = train_test_split(x, y, test_size=120, random_state=seed, stratify=y)
    model = HistGradientBoostingClassifier(
        max_depth=max_depth, learning_rate=learning_rate, l2_regularization=l2, max_iter=n_tree, random_state=seed
    )
    model.fit(x, y)
    val, test = model.predict_proba(x_val)[:, 1], model.predict_proba(x_test)[:, 1]
    return {
        "val_auroc": roc_auc_score(y_val, val),
        "val_nll": log_loss(y_val, val),
        "test_auroc": roc_auc_score(y_test, test),
        "test_nll": log_loss(y_test, test),
    }
