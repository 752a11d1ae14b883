"""Plain asyncio: serve_asyncio.py ADDRESS"""
import asyncio
import contextlib

import listen
import protocol


async def serve(reader, writer):
    async def send(data):
        writer.write(data)
        await writer.drain()

    async def recv():       # the connection of one who asks nothing for a second is closed
        return await asyncio.wait_for(reader.read(65536), 1 if idle() else None)

    def idle():
        return not connection.busy

    connection = protocol.Connection(recv, send, asyncio.sleep)
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError, protocol.ProtocolError):
        await connection.serve()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, sock=listen.listener())
    await server.serve_forever()

asyncio.run(main())
