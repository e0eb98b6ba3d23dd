"""Adam's step by the shorter way."""

import torch
from torch import nn

from rhobeta.training.adam import adam_step


def test_step_is_that_of_adam_bit_for_bit() -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(5, 3) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [
        torch.optim.Adam(
            [{"params": [net.weight], "weight_decay": 0.01}, {"params": [net.bias]}], fused=True
        )
        for net in networks
    ]
    for rate in (0.1, 0.05, 0.2):
        x = torch.randn(4, 5)
        for net, optimizer in zip(networks, optimizers, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            net(x).square().sum().backward()
        optimizers[0].step()
        adam_step(optimizers[1])
    for ours, theirs in zip(networks[1].parameters(), networks[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    state, expected = (found.state_dict()["state"] for found in reversed(optimizers))
    for number in expected:
        for name, values in expected[number].items():
            assert torch.equal(state[number][name], values)
