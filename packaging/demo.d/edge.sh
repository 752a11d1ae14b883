# packaging/demo: Flask on synchronous workers, and a WebSocket app beside it.

visitor=visit.py
websocket=/live/ws
seen=('GET /hello' 'POST /digest' 'GET /live/events' 'GET /live/ws')

start_apps() {
    start "$place/app.log" /usr/bin/gunicorn -w 4 --chdir "$apps" --bind "unix:$place/app.sock" \
        app:app
    watched+=("$pid")
    start "$place/live.log" /usr/bin/uvicorn --app-dir "$apps" --host 127.0.0.1 --port 0 live:app
    watched+=("$pid")

    until_works "${watched[0]}" "$place/app.log" curl -fsS --max-time 5 --noproxy '*' \
        --unix-socket "$place/app.sock" http://localhost/hello || die "gunicorn did not start"
    until_works "${watched[1]}" "$place/live.log" grep -q 'running on http' "$place/live.log" ||
        die "uvicorn did not start"
    live_address=$(sed -n 's,.*running on http://\([0-9.:]*\).*,\1,p' "$place/live.log")
}

backends() {
    cat <<END
[route live]                    ; of both listeners
path = /live/
backend = live

[backend app]                   ; Flask: gunicorn -w 4, one request at a time in each worker
server = unix:$place/app.sock

[backend live]                  ; server-sent events and WebSockets: uvicorn
server = $live_address
END
}

what_to_try() {
    cat <<END
  in a browser     https://localhost:$https/     (its certificate is its own: accept it)
                   http://localhost:$http/
  a request        curl -k https://localhost:$https/hello
  an upload        curl -k --data-binary @README.md https://localhost:$https/digest
  live events      curl -kN https://localhost:$https/live/events
  a WebSocket      /usr/bin/python3 -m websockets ws://localhost:$http/live/ws
END
}
