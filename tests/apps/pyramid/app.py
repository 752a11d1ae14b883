"""The routes of the matrix in Pyramid."""
import gates
from pyramid.config import Configurator
from pyramid.response import Response


def hello(request):
    return {"scheme": request.scheme, "host": request.host, "client": request.client_addr}


def echo(request):
    return Response(request.body, content_type="application/octet-stream")


def item(request):
    if request.method == "DELETE":
        return Response(status=204)
    return Response(json_body={"bytes": len(request.body)})


def poll(request):
    return Response(gates.poll(request.matchdict["name"]))


def events(request):
    return Response(app_iter=gates.steps(gates.event, *asked(request)),
                    content_type="text/event-stream")


def stream(request):
    return Response(app_iter=gates.steps(gates.part, *asked(request)))


def asked(request):
    return request.matchdict["name"], int(request.matchdict["count"])


def some_bytes(request):
    return Response(gates.pattern(int(request.matchdict["count"])),
                    content_type="application/octet-stream")


def make_app():
    with Configurator() as config:
        for view, route, options in (
                (hello, "/hello", {"renderer": "json"}), (echo, "/echo", {}), (item, "/item", {}),
                (poll, "/poll/{name}", {}), (events, "/events/{name}/{count}", {}),
                (stream, "/stream/{name}/{count}", {}), (some_bytes, "/bytes/{count}", {})):
            config.add_route(route, route)
            config.add_view(view, route_name=route, **options)
        return config.make_wsgi_app()


app = make_app()
