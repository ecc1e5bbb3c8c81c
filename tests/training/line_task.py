"""A small regression to train: every sample is a function of its number."""

import torch
from torch import nn

from fewmask.training.settings import TrainSettings

CPU = torch.device("cpu")


class Line:
    """Fit y = 2x + 1 from noisy points; every sample is a function of its number."""

    def __init__(self, *, broken_at=None):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.numbers = []
        self.broken_at = broken_at

    def parameter_groups(self, learning_rate, weight_decay):
        return [{"params": list(self.network.parameters()), "lr": learning_rate, "weight_decay": weight_decay}]

    def sample(self, number):
        self.numbers.append(number)
        generator = torch.Generator().manual_seed(number)
        x = torch.rand(1, generator=generator)
        return x, 2 * x + 1 + 0.01 * torch.randn(1, generator=generator)

    def collate(self, samples):
        return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

    def loss(self, batch, device):
        if self.broken_at is not None and len(self.numbers) >= self.broken_at:
            raise KeyboardInterrupt
        return {"total": nn.functional.mse_loss(self.network(batch[0]), batch[1])}

    def validate(self):
        with torch.no_grad():
            x = torch.linspace(0, 1, 50)[:, None]
            return {"error": float((self.network(x) - (2 * x + 1)).abs().mean())}

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.network.state_dict(), folder / "weights.pt")


def settings(**changes):
    values = {
        "steps": 40, "batch_size": 8, "learning_rate": 0.05, "weight_decay": 0.0, "clip_norm": 1.0, "log_every": 10,
        "checkpoint_every": 8, "ema": 0.9, "schedule": "cosine",
    }  # fmt: skip
    return TrainSettings(**(values | changes))
