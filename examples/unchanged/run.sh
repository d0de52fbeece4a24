#!/usr/bin/env bash
# Run a program as it is, and turn what it prints ("train_loss 0.31 val_loss 0.35") into lines of JSON:
#     bash run.sh FILE PROGRAM [OPTIONS]
set -eo pipefail
metrics=$1
shift
"$@" | awk '{ line = ""
    for (i = 1; i < NF; i += 2) line = line (i > 1 ? ", " : "") "\"" $i "\": " $(i + 1)
    print "{" line "}"
    fflush() }' >"$metrics"
