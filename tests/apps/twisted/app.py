"""The routes of the matrix in Twisted, with Autobahn's WebSocket: app.py ADDRESS"""
import json
import os

import gates
import listen
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import defer, reactor, task
from twisted.web.http import FORBIDDEN, NO_CONTENT
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site


def sleep(seconds):
    return task.deferLater(reactor, seconds, lambda: None)


class Page(Resource):
    isLeaf = True


class Hello(Page):
    def render_GET(self, request):
        # Twisted has nothing for proxies: an app reads what the proxy says.
        request.setHeader("Content-Type", "application/json")
        return json.dumps({"scheme": request.getHeader("X-Forwarded-Proto"),
                           "host": request.getHeader("Host"),
                           "client": request.getHeader("X-Forwarded-For")}).encode()


class Echo(Page):
    def render_POST(self, request):
        return request.content.read()


class Item(Page):
    def render_PUT(self, request):
        return json.dumps({"bytes": len(request.content.read())}).encode()

    def render_DELETE(self, request):
        request.setResponseCode(NO_CONTENT)
        return b""


class Later(Page):
    """Answers in its own time, until the client has gone."""
    def render_GET(self, request):
        answering = defer.ensureDeferred(self.answer(request, *self.words(request)))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addCallbacks(lambda _: request.finish(), lambda _: None)
        return NOT_DONE_YET

    @staticmethod
    def words(request):
        return [word.decode() for word in request.postpath]


class Poll(Later):
    async def answer(self, request, name):
        request.write((await gates.poll_async(name, sleep)).encode())


class Steps(Later):
    def __init__(self, made, kind):
        super().__init__()
        self.made, self.kind = made, kind

    async def answer(self, request, name, count):
        request.setHeader("Content-Type", self.kind)
        async for piece in gates.steps_async(self.made, name, int(count), sleep):
            request.write(piece)


class Bytes(Page):
    def render_GET(self, request):
        return gates.pattern(int(request.postpath[0]))


class Refuse(Page):
    def render_GET(self, request):
        request.setResponseCode(FORBIDDEN)
        return b"not for you\n"


class Echoes(WebSocketServerProtocol):
    def onConnect(self, request):
        self.name = request.path.rpartition("/")[2]

    def onMessage(self, payload, isBinary):
        if not isBinary and payload.startswith(b"close "):
            self.sendClose(int(payload[6:]))
        else:
            self.sendMessage(payload, isBinary)

    def onClose(self, wasClean, code, reason):
        gates.tell(self.name, code)


class Sockets(Resource):
    def __init__(self):
        super().__init__()
        factory = WebSocketServerFactory()
        factory.protocol = Echoes
        self.echoes = WebSocketResource(factory)

    def getChild(self, name, request):
        return Refuse() if name == b"refuse" else self.echoes


def main():
    root = Resource()
    for path, child in ((b"hello", Hello()), (b"echo", Echo()), (b"item", Item()),
                        (b"poll", Poll()), (b"bytes", Bytes()), (b"ws", Sockets()),
                        (b"events", Steps(gates.event, "text/event-stream")),
                        (b"stream", Steps(gates.part, "text/html"))):
        root.putChild(path, child)
    sock = listen.listener()
    sock.setblocking(False)
    reactor.adoptStreamPort(os.dup(sock.fileno()), sock.family, Site(root, timeout=1))
    reactor.run()


main()
