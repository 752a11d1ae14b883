"""Django for ASGI servers, with Channels: what waits or streams is a consumer, the rest a view."""
import os

import gates
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
views = get_asgi_application()


class Poll(AsyncHttpConsumer):
    async def handle(self, body):
        name = self.scope["url_route"]["kwargs"]["name"]
        await self.send_response(200, (await gates.poll_async(name)).encode())


class Steps(AsyncHttpConsumer):
    async def handle(self, body):
        words = self.scope["url_route"]["kwargs"]
        kind = "text/event-stream" if words["kind"] == "events" else "text/html"
        made = gates.event if words["kind"] == "events" else gates.part
        await self.send_headers(headers=[(b"Content-Type", kind.encode())])
        async for piece in gates.steps_async(made, words["name"], int(words["count"])):
            await self.send_body(piece, more_body=True)
        await self.send_body(b"")


class Echo(AsyncWebsocketConsumer):
    async def connect(self):
        self.name = self.scope["url_route"]["kwargs"]["name"]
        if self.name == "refuse":
            await self.close()
        else:
            await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data is not None and text_data.startswith("close "):
            await self.close(int(text_data[6:]))
        else:
            await self.send(text_data, bytes_data)

    async def disconnect(self, code):
        gates.tell(self.name, code)


application = ProtocolTypeRouter({
    "http": URLRouter([path("poll/<name>", Poll.as_asgi()),
                       path("<kind>/<name>/<int:count>", Steps.as_asgi()),
                       re_path(r"", views)]),
    "websocket": URLRouter([path("ws/<name>", Echo.as_asgi())]),
})
