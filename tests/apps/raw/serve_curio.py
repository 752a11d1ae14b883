"""Curio: serve_curio.py ADDRESS"""
import contextlib

import curio
import listen
import protocol


async def serve(client, _):
    async def recv():       # the connection of one who asks nothing for a second is closed
        if connection.busy:
            return await client.recv(65536)
        return await curio.timeout_after(1, client.recv, 65536)

    connection = protocol.Connection(recv, client.sendall, curio.sleep)
    with contextlib.suppress(ConnectionError, curio.TaskTimeout, protocol.ProtocolError):
        await connection.serve()
    await client.close()


async def main():
    listener = curio.io.Socket(listen.listener())
    async with curio.TaskGroup() as group:
        while True:
            client, address = await listener.accept()
            await group.spawn(serve, client, address)

curio.run(main)
