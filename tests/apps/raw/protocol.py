"""No framework: HTTP by h11 and WebSocket by wsproto over two calls, receive and send.

Every await is the event loop's own, so that asyncio and Curio both run it. What other servers do
wrong now and then, this one does when it is asked to: /odd/...
"""
import json

import gates
import h11
import wsproto
from wsproto import events as ws_events

ProtocolError = h11.ProtocolError


class Connection:
    """recv() and send(bytes) of a socket, and sleep, as the event loop has them."""
    def __init__(self, recv, send, sleep):
        self.recv, self.send, self.sleep = recv, send, sleep
        self.http = h11.Connection(h11.SERVER)
        self.busy = False               # else it waits for a request

    async def serve(self):
        while True:
            self.busy = False
            self.request = request = await self.next_event()
            self.busy = True
            if not isinstance(request, h11.Request):
                return
            fields = {n.decode(): v.decode() for n, v in request.headers}
            words = request.target.decode().split("/")[1:]
            if words[0] == "odd":
                await self.odd(words[1])
                return
            if words[0] == "ws" and words[1] != "refuse":
                await Messages(self, words[1]).serve(request)
                return
            await self.answer(request.method.decode(), fields, words)
            if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                return
            self.http.start_next_cycle()

    async def next_event(self):
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                await self.tell(h11.InformationalResponse(status_code=100, headers=[]))
            self.http.receive_data(await self.recv())
        return event

    async def body(self):
        parts = []
        while isinstance(event := await self.next_event(), h11.Data):
            parts.append(event.data)
        return b"".join(parts)

    async def tell(self, event):
        if data := self.http.send(event):
            await self.send(data)

    async def whole(self, body=b"", status=200, kind="text/plain"):
        fields = [("Content-Type", kind)]
        if status != 204:
            fields.append(("Content-Length", str(len(body))))
        await self.tell(h11.Response(status_code=status, headers=fields))
        if body and self.request.method != b"HEAD":
            await self.tell(h11.Data(data=body))
        await self.tell(h11.EndOfMessage())

    async def steps(self, made, kind, name, count):
        await self.tell(h11.Response(status_code=200, headers=[("Content-Type", kind)]))
        async for piece in gates.steps_async(made, name, int(count), self.sleep):
            await self.tell(h11.Data(data=piece))
        await self.tell(h11.EndOfMessage())

    async def answer(self, method, fields, words):
        body = await self.body()
        if words == ["hello"]:
            said = json.dumps({"scheme": fields["x-forwarded-proto"], "host": fields["host"],
                               "client": fields["x-forwarded-for"]}).encode()
            await self.whole(said, kind="application/json")
        elif words == ["echo"]:
            await self.whole(body, kind="application/octet-stream")
        elif words == ["item"]:
            if method == "DELETE":
                await self.whole(status=204)
            else:
                await self.whole(json.dumps({"bytes": len(body)}).encode())
        elif words[0] == "poll":
            await self.whole((await gates.poll_async(words[1], self.sleep)).encode())
        elif words[0] == "events":
            await self.steps(gates.event, "text/event-stream", *words[1:])
        elif words[0] == "stream":
            await self.steps(gates.part, "text/html", *words[1:])
        elif words[0] == "bytes":
            await self.whole(gates.pattern(int(words[1])))
        else:
            await self.whole(b"not for you\n", 403)

    async def odd(self, what):
        """Wrong on the wire, by hand; head-body and no-content then wait for what comes."""
        await self.body()
        if what == "head-body":         # a body behind the answer to HEAD
            await self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
        elif what == "no-content":      # a chunked body behind a 204
            await self.send(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
                            b"5\r\nwrong\r\n0\r\n\r\n")
        elif what == "closes":          # unannounced
            await self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
            return
        while await self.recv():
            pass


class Messages:
    """A WebSocket that echoes."""
    def __init__(self, connection, name):
        self.connection, self.name = connection, name
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)

    async def serve(self, request):
        self.ws.initiate_upgrade_connection(request.headers, request.target.decode())
        parts = []
        code = 1006
        while True:
            for event in self.ws.events():
                if isinstance(event, ws_events.Request):
                    await self.say(ws_events.AcceptConnection())
                elif isinstance(event, ws_events.Ping):
                    await self.say(event.response())
                elif isinstance(event, ws_events.CloseConnection):
                    code = event.code
                    if self.ws.state is wsproto.ConnectionState.REMOTE_CLOSING:
                        await self.say(event.response())
                    gates.tell(self.name, code)
                    return
                elif isinstance(event, ws_events.Message):
                    parts.append(event.data)
                    if event.message_finished:
                        await self.message(parts[0][:0].join(parts))
                        parts = []
            data = await self.connection.recv()
            if not data:
                gates.tell(self.name, code)
                return
            self.ws.receive_data(data)

    async def message(self, data):
        if isinstance(data, str) and data.startswith("close "):
            await self.say(ws_events.CloseConnection(code=int(data[6:])))
        else:
            await self.say(ws_events.Message(data=data))

    async def say(self, event):
        await self.connection.send(self.ws.send(event))
