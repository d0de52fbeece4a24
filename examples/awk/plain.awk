# A line through noisy points, by gradient descent: awk -v lr=0.5 -f examples/awk/plain.awk
BEGIN {
    if (lr == "") lr = 0.5
    if (epochs == "") epochs = 15
    srand(seed + 1)
    for (i = 0; i < 90; i++) {
        x[i] = rand()
        y[i] = 2 * x[i] - 1 + 0.2 * (rand() - 0.5)
    }
    for (epoch = 0; epoch < epochs; epoch++) {
        for (i = 0; i < 30; i++) {
            miss = slope * x[i] + start - y[i]
            slope -= lr * miss * x[i]
            start -= lr * miss
        }
        printf "train_mse %.6f val_mse %.6f\n", mse(0, 30), mse(30, 60)
    }
    printf "test_mse %.6f\n", mse(60, 90)
}

function mse(from, to,    i, sum) {
    for (i = from; i < to; i++) sum += (slope * x[i] + start - y[i]) ^ 2
    return sum / (to - from)
}
