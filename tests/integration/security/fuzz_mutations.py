"""Ways to damage an input: at random, where numbers stand, and along the structure of JSON."""

import copy
import json
import random
from typing import Any

_EXTREMES = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_TOKENS = (
    b"\0",
    b"-1",
    b"NaN",
    b"Infinity",
    b".inf",
    b"1e999",
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"[" * 5000,
    b"{" * 5000,
    b"{a: " * 500,
    b"- " * 500,
    b"? " * 500,
    b"&a [*a, *a]",
    b"<<: *a",
    b"!!python/object/apply:os.abort []",
    b'!!int ""',
    b"!!bool x",
    b"!!timestamp 0001-01-01T00:00:00+23:59",
    b"!!binary x",
    b"%YAML 1.1\n---\n",
    b"${oc.env:HOME}",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u202e\U0001f600".encode(),
    b'"\\ud800"',
    b'"\\UFFFFFFFF"',
    b"\r\n\t",
)
_DEEP = "@deep@"
HUGE = "@huge@"
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 255, 256, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400,
    10**4000, 0.0, -0.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"),
    "", "0", "kl", "none", "relu", "topk", "tanh", "F64", "BF16", "F4", "I64", "U8",
    "\0", "\n", "\ud800", "é" * 1000, "x" * 10_000,
    "../../x", "/dev/zero", "__class__", "${oc.env:HOME}",
    [], {}, [[]], [0], [1, 1], [2**40], [-1, 4], ["a"], {"a": 1}, [1] * 300, _DEEP, HUGE,
)  # fmt: skip


def damaged(content: bytes, chance: random.Random) -> bytes:
    """`content` with one to four random faults."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at = chance.randrange(len(found) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 60))
        match chance.randrange(9):
            case 0 | 1 if at < len(found):
                found[at] ^= 1 << chance.randrange(8)
            case 2:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                del found[at:]
            case 4:
                del found[at : at + length]
            case 5:
                found[at:at] = chance.randbytes(length)
            case 6:
                other = chance.randrange(len(found) + 1)
                block = found[other : other + length]
                found[other : other + length] = found[at : at + length]
                found[at : at + length] = block
            case 7:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(_EXTREMES) % 256**size
                found[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))
            case _:
                found[at:at] = chance.choice(_TOKENS)
    return bytes(found)


def changed(tree: Any, chance: random.Random) -> Any:
    """A copy of nested plain values in which one to three places are other than they were."""
    root = [copy.deepcopy(tree)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(root))
        owner, key = chance.choice(places[1:] or places)
        match chance.randrange(8):
            case 0 if owner is not root:
                del owner[key]
            case 1 if isinstance(owner, dict):
                owner[chance.choice((key[:-1], f"{key}x", "", "__metadata__"))] = owner.pop(key)
            case 2 if isinstance(owner, dict):
                owner[f"{key}2"] = copy.deepcopy(owner[key])
            case 3 if isinstance(owner[key], int | float) and not isinstance(owner[key], bool):
                factor, summand = chance.choice((-1, 2, 10, 0)), chance.choice((0, 1, -1))
                owner[key] = owner[key] * factor + summand
            case 4:
                other, there = chance.choice(places)
                if there in (other if isinstance(other, dict) else range(len(other))):
                    owner[key] = copy.deepcopy(other[there])
            case _:
                owner[key] = copy.deepcopy(chance.choice(_VALUES))
    return root[0]


def as_json(tree: Any, chance: random.Random) -> str:
    """The JSON text of `tree`, with text that asks for it nested thousands of times."""
    text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
    depth = chance.choice((100, 1000, 100_000))
    return text.replace(f'"{_DEEP}"', "[" * depth + "]" * depth)


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a container, from the outside inwards."""
    found: list[tuple[Any, Any]] = []
    waiting = [node]
    while waiting:
        owner = waiting.pop(0)
        for key in list(owner) if isinstance(owner, dict) else range(len(owner)):
            found.append((owner, key))
            if isinstance(owner[key], dict | list):
                waiting.append(owner[key])
    return found
