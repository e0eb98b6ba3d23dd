"""What a training epoch is compared with: a plain PyTorch loop, and its matrix products alone."""

import math
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, mse_loss

BATCH_SIZE, RHO, BETA, RATE, DECAY = 256, 0.05, 0.00765, 0.01, 2e-7


def bare_epochs(train: Tensor, validation: Tensor, *, units: int, epochs: int) -> list[float]:
    """Seconds of each epoch of a plain loop: autograd, and Adam in one fused kernel.

    The same mini-batches of the same bytes (shape: [images, pixels]), the same network and KL from
    logits, one pass over the validation images for loss and error. It has no Trainer, no
    statistics, no history, no MLflow.
    """
    pixels = train.shape[1]
    encoder, decoder = nn.Linear(pixels, units), nn.Linear(units, pixels)
    groups = [
        {"params": [encoder.weight, decoder.weight], "weight_decay": DECAY},
        {"params": [encoder.bias, decoder.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.Adam(groups, lr=RATE, fused=True)

    def loss_of(images: Tensor) -> Tensor:
        x = images.float().div_(255)
        z = encoder(x)
        mse = mse_loss(torch.sigmoid(decoder(torch.sigmoid(z))), x)
        size = math.log(len(x))
        log_q = torch.logsumexp(logsigmoid(z), 0) - size
        log_not_q = torch.logsumexp(logsigmoid(-z), 0) - size
        kl = RHO * (math.log(RHO) - log_q) + (1 - RHO) * (math.log(1 - RHO) - log_not_q)
        return mse + BETA * kl.sum()

    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for chosen in torch.split(torch.randperm(len(train)), BATCH_SIZE):
            loss = loss_of(train[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            loss_of(validation)
        seconds.append(time.perf_counter() - started)
    return seconds


def products_of_an_epoch(images: int, pixels: int, units: int, dtype: torch.dtype) -> float:
    """Seconds of the five matrix products of each step of an epoch, and nothing else.

    Two forwards, W1 x and W2 a, and three backwards: the gradients of a, W2 and W1.
    """
    x = torch.rand(BATCH_SIZE, pixels).to(dtype)
    code = torch.rand(BATCH_SIZE, units).to(dtype)
    encoder = torch.rand(units, pixels).to(dtype)
    decoder = torch.rand(pixels, units).to(dtype)
    z, y = torch.empty_like(code), torch.empty_like(x)
    encoder_gradient, decoder_gradient = torch.empty_like(encoder), torch.empty_like(decoder)
    started = time.perf_counter()
    for _ in range(-(-images // BATCH_SIZE)):
        torch.mm(x, encoder.T, out=z)
        torch.mm(code, decoder.T, out=y)
        torch.mm(y, decoder, out=z)
        torch.mm(y.T, code, out=decoder_gradient)
        torch.mm(z.T, x, out=encoder_gradient)
    return time.perf_counter() - started
