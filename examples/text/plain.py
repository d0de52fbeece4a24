"""Sentences of any length, which a recurrent network calls friendly or not: python examples/text/plain.py"""

import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

GOOD, BAD = ["good", "fine", "great", "lovely"], ["bad", "dull", "poor", "awful"]
WORDS = ["<pad>", "it", "was", "not", "very", "and", "but", *GOOD, *BAD]


def sentences(n, seed):
    """Return n pairs: the numbers of a sentence's words, and whether it says more good than bad. "Not" turns a word."""
    draw = random.Random(seed)
    texts = []
    while len(texts) < n:
        words, score = ["it", "was"], 0
        for i in range(draw.randint(1, 6)):
            word = draw.choice(GOOD + BAD)
            turned = draw.random() < 0.4
            words += [draw.choice(["and", "but"])] * (i > 0) + ["not"] * turned + ["very"] * draw.randint(0, 2) + [word]
            score += 1 if (word in GOOD) != turned else -1
        if score:
            texts.append((torch.tensor([WORDS.index(word) for word in words]), int(score > 0)))
    return texts


def pad(batch):
    """Return one batch: words (N, T), filled up with 0; lengths (N,); labels (N,)."""
    texts, labels = zip(*batch, strict=True)
    return pad_sequence(texts, batch_first=True), torch.tensor([len(text) for text in texts]), torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self, cell, width):
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), width, padding_idx=0)
        self.rnn = {"gru": nn.GRU, "rnn": nn.RNN}[cell](width, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][-1])


def evaluate(model, loader, device):
    """Return accuracy and F1 of the friendly ones."""
    with torch.no_grad():
        found = [(model(words.to(device), lengths).argmax(1).cpu(), labels) for words, lengths, labels in loader]
    said, true = (torch.cat(parts) for parts in zip(*found, strict=True))
    return (said == true).float().mean().item(), (2 * (said & true).sum() / (said + true).sum().clamp(min=1)).item()


def train(cell="gru", width=32, lr=0.01, epochs=8, seed=0):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    train_loader, val_loader, test_loader = (
        DataLoader(sentences(n, seed=split), batch_size=32, shuffle=split == 0, collate_fn=pad)
        for split, n in enumerate((600, 300, 300))
    )
    model = Reader(cell, width).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)

    for epoch in range(epochs):
        losses = []
        for words, lengths, labels in train_loader:
            loss = F.cross_entropy(model(words.to(device), lengths), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        train_loss = sum(losses) / len(losses)
        val_acc, val_f1 = evaluate(model, val_loader, device)
        print(f"epoch {epoch} train_loss {train_loss:.4f} val_acc {val_acc:.4f} val_f1 {val_f1:.4f}")

    test_acc, test_f1 = evaluate(model, test_loader, device)
    return {"test_acc": test_acc, "test_f1": test_f1}


if __name__ == "__main__":
    for cell in ("rnn", "gru"):
        print(f"cell={cell}: {train(cell=cell)}")
