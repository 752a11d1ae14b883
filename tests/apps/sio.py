"""What rows with Socket.IO are asked, with python-socketio's own client."""
import asyncio

from harness import WAIT_S, equal, until
from questions import question

CLIENTS, WORDS = 20, 10


class Talker:
    """A client that says word after word and hears each again."""
    def __init__(self, visit, transports):
        import socketio         # its row is not run where it is not there
        self.heard = asyncio.Queue()
        self.client = socketio.AsyncClient(reconnection=False, ssl_verify=False)
        self.client.on("said", self.heard.put)
        scheme = "https" if visit.tls else "http"
        self.url = "{}://{}:{}".format(scheme, *visit.address)
        self.transports = transports

    async def talk(self):
        """The process that it has talked to."""
        await self.client.connect(self.url, transports=self.transports, wait_timeout=WAIT_S)
        pids = set()
        for number in range(1, WORDS + 1):
            await self.client.emit("say", f"word {number}")
            word, count, pid = await asyncio.wait_for(self.heard.get(), WAIT_S)
            equal([word, count], [f"word {number}", number], "what was said")
            pids.add(pid)
        transport = self.client.transport()
        await self.client.disconnect()
        equal(len(pids), 1, "processes that one session was with")
        return pids.pop(), transport


def crowd(visit, transports):
    """All of them at once; both servers have their share."""
    async def run():
        return await asyncio.gather(*[Talker(visit, transports).talk() for _ in range(CLIENTS)])

    def both_heard():           # one that was just restarted comes back little by little
        talks = asyncio.run(asyncio.wait_for(run(), 2 * WAIT_S))
        used = {transport for _, transport in talks}
        equal(used, {(transports or ["websocket"])[0]}, "transport")
        pids.update(pid for pid, _ in talks)
        return len(pids) == visit.row.servers
    pids = set()
    until(both_heard, "sessions at every server")


@question("Socket.IO polling", of="sio")
def polling(visit):
    crowd(visit, ["polling"])


@question("Socket.IO ws", of="sio")
def websocket(visit):
    crowd(visit, ["websocket"])


@question("Socket.IO upgrade", of="sio")
def upgrade(visit):
    """As clients do by themselves: polling first, then the same session as a WebSocket."""
    crowd(visit, None)
