"""WebSocket beside WSGI, on the socket that the server shows its app: wsproto, and no threads."""
import socket

import gates
import wsproto
from wsproto import events


def socket_of(environ):
    """Where each server has it."""
    if "gunicorn.socket" in environ:
        return environ["gunicorn.socket"]
    if "eventlet.input" in environ:
        return environ["eventlet.input"].get_socket()
    return environ["wsgi.input"].raw._sock      # gevent's pywsgi, of a request with Upgrade


def ended(environ):
    """What tells the server that the connection is not its any more."""
    if "gunicorn.socket" in environ:
        raise StopIteration()
    if "eventlet.input" in environ:
        from eventlet.wsgi import WSGI_LOCAL
        WSGI_LOCAL.already_handled = True
    return []


class WebSockets:
    """A middleware: /ws/NAME echoes, /ws/refuse is the app's own answer."""
    def __init__(self, wrapped):
        self.wrapped = wrapped

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/ws/") and "HTTP_SEC_WEBSOCKET_KEY" in environ:
            if path == "/ws/refuse":
                start_response("403 Forbidden", [("Content-Length", "0")])
                return []
            sock = socket_of(environ)
            code = Echo(sock, environ).serve()
            gates.tell(path.rpartition("/")[2], code)
            sock.shutdown(socket.SHUT_RDWR)
            return ended(environ)
        return self.wrapped(environ, start_response)


class Echo:
    def __init__(self, sock, environ):
        self.sock = sock
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        fields = [(name[5:].replace("_", "-").encode(), value.encode("latin-1"))
                  for name, value in environ.items() if name.startswith("HTTP_")]
        self.ws.initiate_upgrade_connection(fields, environ["PATH_INFO"])
        self.parts = []

    def say(self, event):
        self.sock.sendall(self.ws.send(event))

    def serve(self):
        """The code that it was closed with."""
        while True:
            for event in self.ws.events():
                if isinstance(event, events.CloseConnection):
                    if self.ws.state is wsproto.ConnectionState.REMOTE_CLOSING:
                        self.say(event.response())
                    return event.code
                self.heard(event)
            data = self.sock.recv(65536)
            if not data:
                return 1006
            self.ws.receive_data(data)

    def heard(self, event):
        if isinstance(event, events.Request):
            self.say(events.AcceptConnection())
        elif isinstance(event, events.Ping):
            self.say(event.response())
        elif isinstance(event, events.Message):
            self.parts.append(event.data)
            if event.message_finished:
                self.message(self.parts[0][:0].join(self.parts))
                self.parts = []

    def message(self, data):
        if isinstance(data, str) and data.startswith("close "):
            self.say(events.CloseConnection(code=int(data[6:])))
        else:
            self.say(events.Message(data=data))
