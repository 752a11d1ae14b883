"""The routes of the matrix in Django, synchronous; asgi.py has the asynchronous ones."""
import gates
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path


def hello(request):
    # Django knows scheme and host by its settings; the client is left to the app.
    return JsonResponse({"scheme": request.scheme, "host": request.get_host(),
                         "client": request.headers["X-Forwarded-For"]})


def echo(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


def item(request):
    if request.method == "DELETE":
        return HttpResponse(status=204)
    return JsonResponse({"bytes": len(request.body)})


def poll(request, name):
    return HttpResponse(gates.poll(name))


def events(request, name, count):
    return StreamingHttpResponse(gates.steps(gates.event, name, count),
                                 content_type="text/event-stream")


def stream(request, name, count):
    return StreamingHttpResponse(gates.steps(gates.part, name, count))


def some_bytes(request, count):
    return HttpResponse(gates.pattern(count), content_type="application/octet-stream")


urlpatterns = [path("hello", hello), path("echo", echo), path("item", item),
               path("poll/<name>", poll), path("events/<name>/<int:count>", events),
               path("stream/<name>/<int:count>", stream), path("bytes/<int:count>", some_bytes)]
