"""Meinheld's own server: serve_meinheld.py ADDRESS"""
import app
import listen
from meinheld import server

sock = listen.listener()
server.set_listen_socket(sock.fileno())
server.set_keepalive(1)
server.set_access_logger(None)
server.run(app.app)
