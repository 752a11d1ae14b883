# packaging/demo talks: the apps of the talks, in tests/apps/talks.

visitor=visit_talks.py
websocket=/feed/tornado/ws
seen=('GET /rand' 'PUT /packages' 'GET /feed/gevent/events' 'GET /feed/tornado/ws' 'GET /hello')
talks=$PWD/tests/apps/talks
deps=apps

start_apps() {
    local name
    export PYADAY_DB=$place/packages.db
    start "$place/pyaday.log" /usr/bin/gunicorn -w 4 --preload --chdir "$talks" \
        --bind "unix:$place/pyaday.sock" pyaday:app
    watched+=("$pid")
    start "$place/hello.log" /usr/bin/uvicorn --app-dir "$talks" --uds "$place/hello.sock" hello:app
    watched+=("$pid")
    for name in gevent tornado; do
        start "$place/$name.log" /usr/bin/python3 "$talks/feed_$name.py" "$place/$name.sock"
        watched+=("$pid")
    done
    local names=(pyaday hello gevent tornado) i
    for i in "${!names[@]}"; do
        name=${names[i]}
        until_works "${watched[i]}" "$place/$name.log" curl -sS --max-time 5 --noproxy '*' \
            --unix-socket "$place/$name.sock" http://localhost/ || die "$name did not start"
    done
}

backends() {
    cat <<END
[route hello]                   ; of both listeners
path = /hello
backend = hello

[route gevent]
path = /feed/gevent
backend = gevent

[route tornado]
path = /feed/tornado
backend = tornado

[backend app]                   ; CRUD and /rand: Flask on gunicorn -w 4
server = unix:$place/pyaday.sock
slots = 4

[backend hello]                 ; hello, three seconds, world: uvicorn
server = unix:$place/hello.sock

[backend gevent]                ; one producer, many clients
server = unix:$place/gevent.sock

[backend tornado]               ; the same
server = unix:$place/tornado.sock
END
}

what_to_try() {
    cat <<END
  a package        curl -k https://localhost:$https/rand
  all of them      curl -k https://localhost:$https/packages
  one's own        curl -k -X PUT -H 'Content-Type: application/json' \\
                       -d '{"version": "1"}' https://localhost:$https/packages/mine
  hello, world     curl -kN https://localhost:$https/hello
  a feed's client  curl -kN https://localhost:$https/feed/gevent/events
                   /usr/bin/python3 -m websockets ws://localhost:$http/feed/gevent/ws
  its producer     curl -k -d 'something new' https://localhost:$https/feed/gevent
                   (or /feed/tornado, all of them)
END
}
