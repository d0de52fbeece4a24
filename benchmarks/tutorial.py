"""The model and the loop of PyTorch's CIFAR-10 tutorial, on random images of CIFAR's shape.

https://docs.pytorch.org/tutorials/beginner/blitz/cifar10_tutorial.html
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
import torchvision.transforms as transforms
from torch import Tensor, nn, optim


class Net(nn.Module):
    """The tutorial's network, called as this pipeline calls a user's own."""

    def __init__(self, in_shape: tuple[int, ...] = (3, 32, 32), n_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class RandomCIFAR10(torchvision.datasets.CIFAR10):
    """torchvision's CIFAR-10, but for the pixels."""

    def __init__(self, n: int, transform: object) -> None:
        generator = np.random.default_rng(0)
        self.data = generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        self.targets = generator.integers(0, 10, n).tolist()
        self.transform, self.target_transform = transform, None


def samples_per_second(n: int, batch_size: int, device: torch.device, workers: int = 2) -> float:
    """Train one epoch as the tutorial does, after one to warm up; return its images a second."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    data = RandomCIFAR10(n, transform)
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True, num_workers=workers)
    net = Net().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    for _ in range(2):
        start = time.perf_counter()
        running_loss = 0.0
        for inputs, labels in loader:
            inputs, labels = inputs.to(device), labels.to(device)
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        seconds = time.perf_counter() - start
    return n / seconds
