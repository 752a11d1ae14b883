"""The Flask app, and beside it the WebSockets of uWSGI's own API."""
import app
import uwsgi


def has_text(message):
    try:
        return bool(message.decode())
    except UnicodeDecodeError:
        return False


def websocket(environ):     # the API knows neither kinds of messages nor close codes
    uwsgi.websocket_handshake(environ["HTTP_SEC_WEBSOCKET_KEY"])
    try:
        while True:
            message = uwsgi.websocket_recv()
            (uwsgi.websocket_send if has_text(message) else uwsgi.websocket_send_binary)(message)
    except OSError:
        return []               # it has ended


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/ws/") and path != "/ws/refuse":
        return websocket(environ)
    return app.app(environ, start_response)
