"""What every app of the matrix uses: gates, which the test opens one step at a time.

A gate is a name; its step N is open once the file NAME.N is in the folder GATES. So whatever an
app waits for is told to it by the test, in any framework and any number of processes.
"""
import asyncio
import hashlib
import os
import time

POLL_S = 0.02


def path(name):
    return os.path.join(os.environ["GATES"], os.path.basename(name))


def tell(name, word):
    """Adds a line to the file NAME, for the test to read."""
    fd = os.open(path(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{word}\n".encode())
    os.close(fd)


def is_open(name, step=0):
    return os.path.exists(path(f"{name}.{step}"))


def wait(name, step=0):
    """For synchronous apps, and those whose time.sleep is a green one."""
    while not is_open(name, step):
        time.sleep(POLL_S)


async def wait_async(name, step=0, sleep=asyncio.sleep):
    while not is_open(name, step):
        await sleep(POLL_S)


def poll(name):
    """A long poll: says that it is there, and waits."""
    tell(name, "here")
    wait(name)
    return "open\n"


async def poll_async(name, sleep=asyncio.sleep):
    tell(name, "here")
    await wait_async(name, 0, sleep)
    return "open\n"


def event(number):
    """Of an event stream."""
    return f"id: {number}\ndata: event {number}\n\n".encode()


def part(number):
    """Of a page that is made while it is sent."""
    return (f"<p>part {number}</p>".ljust(999) + "\n").encode()


def steps(made, name, count):
    """The events or parts of a stream, each when its step is open."""
    for number in range(count):
        wait(name, number)
        yield made(number)


async def steps_async(made, name, count, sleep=asyncio.sleep):
    for number in range(count):
        await wait_async(name, number, sleep)
        yield made(number)


def pattern(count):
    """Bytes that show where they are from."""
    made = b"".join(hashlib.sha256(b"%d" % n).digest() * 256 for n in range(count // 8192 + 1))
    return made[:count]
