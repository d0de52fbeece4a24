"""The library behind the pipeline's command lines: sweep, data, models, optim, training, records, figures."""
