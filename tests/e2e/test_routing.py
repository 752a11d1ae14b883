"""Which backend a request goes to."""
from harness import Front, address_text, check, equal, free_address
from wire import Client, Origin

NAMES = ("app", "exact", "wild", "deep", "path", "longer", "private", "both")


def backends():
    """An origin per name, each answering with its name; and their sections but for app's."""
    origins = {}
    for name in NAMES:
        def serve(exchange, name=name):
            while exchange.request():
                exchange.answer(name)
        origins[name] = Origin(serve)
    sections = "".join(f"[backend {n}]\nserver = {address_text(o.address)}\n"
                       for n, o in origins.items() if n != "app")
    return origins, sections


ROUTES = """
[route e]
host = exact.test, also.test
backend = exact
[route w]
host = *.test
backend = wild
[route d]
host = *.deep.test
backend = deep
[route p]
path = /p/
backend = path
[route l]
path = /p/longer
backend = longer
[route b]
host = exact.test
path = /both
backend = both
"""


def test_hosts_and_paths():
    origins, sections = backends()
    with Front(origins["app"].address, more=sections + ROUTES) as front:
        with Client(front.address) as client:
            for host, target, name in (
                    ("exact.test", "/", "exact"), ("EXACT.Test:81", "/", "exact"),
                    ("exact.test.", "/", "exact"), ("also.test", "/p/", "exact"),
                    ("x.test", "/", "wild"), ("a.b.test", "/p/", "wild"),
                    ("x.deep.test", "/", "deep"), ("a.b.deep.test", "/", "deep"),
                    ("deep.test", "/", "wild"), ("test", "/", "app"),
                    ("xexact.test.org", "/", "app"),
                    ("other.org", "/", "app"), ("other.org", "/p", "app"),
                    ("other.org", "/p/", "path"), ("other.org", "/p/x?y", "path"),
                    ("other.org", "/p/longer/x", "longer"), ("other.org", "/P/", "app"),
                    ("other.org", "/x?/p/", "app"), ("exact.test", "/both/1", "both"),
                    ("[::1]:80", "/", "app")):
                equal(client.ask("GET", target, host=host).body.decode(), name, f"{host}{target}")
            client.request("GET", "http://x.test/", host="other.org")
            equal(client.response().body, b"wild", "the host of an absolute form")


def test_listeners():
    origins, sections = backends()
    second, third = free_address(), free_address()
    more = sections + f"""
[listener second]
bind = {address_text(second)}
backend = wild
[listener third]
bind = {address_text(third)}
[route mine]
path = /mine
listener = second
backend = private
[route all]
path = /all
backend = both
"""
    with Front(origins["app"].address, more=more) as front:
        for address, target, name in (
                (front.address, "/", "app"), (front.address, "/mine", "app"),
                (front.address, "/all", "both"), (second, "/", "wild"),
                (second, "/mine", "private"), (second, "/all", "both"), (third, "/all", "both")):
            with Client(address) as client:
                equal(client.ask("GET", target).body.decode(), name, f"{address}{target}")
        with Client(third) as client:               # its connection is kept, it is no error of form
            for target in ("/", "/mine"):
                got = client.ask("GET", target)
                equal(got.status, 404, "no route and no default")
                check(b"404" in got.body and "text/html" in got.get("Content-Type"), got)
            head = client.ask("HEAD", "/")
            equal([head.status, head.body], [404, b""], "HEAD")
            equal(client.ask("GET", "/all").body, b"both", "after a 404")


def test_redirects():
    origin = Origin()
    plain, other = free_address(), free_address()
    more = (f"[listener plain]\nbind = {address_text(plain)}\nredirect_https = yes\n"
            f"[listener other]\nbind = {address_text(other)}\nredirect_https = 8443\n")
    with Front(origin.address, more=more):
        with Client(plain) as client:
            for target in ("/", "/a%20b?c=d"):
                got = client.ask("GET", target, host="one.test:8080")
                equal([got.status, got.get("Location")], [308, "https://one.test" + target],
                      "to 443")
            got = client.ask("POST", "/post", body=b"x" * 100000)
            equal(got.status, 308, "POST")
        with Client(other) as client:
            got = client.ask("GET", "/x", host="[::1]:80")
            equal([got.status, got.get("Location")], [308, "https://[::1]:8443/x"], "to 8443")
        with Client(other) as client:
            client.send("GET / HTTP/1.0\r\n\r\n")
            equal(client.response().status, 400, "nowhere to send it")
    equal(origin.request_count(), 0, "requests at the origin")
