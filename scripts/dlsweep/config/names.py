"""Names in messages: the one that somebody meant, and several in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OTHER_NAMES = {
    # keys
    "patience": "early_stop early_stopping early_stopping_patience",
    "lr": "learning_rate lrate initial_lr",
    "batch_size": "batch bs minibatch_size train_batch_size",
    "epochs": "n_epochs num_epochs max_epochs num_train_epochs",
    "optimizer": "optim optimiser",
    "weight_decay": "l2 wd l2_penalty",
    "hid_dim": "hidden_dim hidden_size hidden_units n_hidden units width",
    "n_layer": "layers num_layers hidden_layers",
    "n_block": "blocks num_blocks",
    "act": "activation activation_fn nonlinearity",
    "seed": "random_seed random_state manual_seed",
    "lr_schedule": "scheduler lr_scheduler schedule",
    "lr_step": "step_size",
    "lr_gamma": "gamma lr_decay",
    "warmup_epochs": "warmup",
    "batch_norm": "bn batch_normalization",
    "dropout": "dropout_rate drop_rate",
    "grad_clip": "clip_grad clip_grad_norm gradient_clip gradient_clipping max_grad_norm",
    "init": "initialization initializer weight_init",
    "dataset": "data data_set",
    "model": "net network arch architecture",
    "model_args": "model_kwargs model_params",
    "train_size": "n_train train_fraction",
    "val_size": "n_val val_split val_fraction validation_split validation_size",
    "test_size": "n_test test_split test_fraction",
    "horizontal_flip": "flip hflip random_flip",
    "channels": "filters n_filters n_channels",
    "kernel_size": "kernel filter_size",
    "precision": "amp mixed_precision dtype",
    "sample": "n_samples n_trials trials",
    "seeds": "n_seeds num_seeds",
    "split_seeds": "repeats n_repeats",
    "folds": "k_folds kfold k_fold cv n_splits",
    "figures": "plots",
    # values
    "true": "yes on",
    "false": "no off",
    "null": "none",
    "constant": "none",
    "default": "none",
    "nag": "nesterov",
    "silu": "swish",
    "sigmoid": "logistic",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
    "cosine": "cosine_annealing",
}
"""What other tools call our names: proposed with certainty, where the name is allowed."""


def nearest(name: object, names: Iterable[str]) -> str:
    """Return a sentence with the allowed name that `name` stands for, or that it is a misspelling of, or nothing."""
    import difflib  # only for who mistypes: every start of Snakemake loads this module

    said, names = str(name).lower().replace("-", "_"), list(names)
    for other in names:
        if said in OTHER_NAMES.get(other, "").split():
            return f" Write {other!r} instead."
    written = {other.lower(): other for other in names}  # the names of classes and folders have capitals
    swapped = [other for other in written if sorted(other) == sorted(said)]
    match = swapped or difflib.get_close_matches(said, written, n=1, cutoff=0.75)
    return f" Did you mean {written[match[0]]!r}?" if match else ""


def listed(words: Sequence[str]) -> str:
    """Return words as a sentence has them: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
