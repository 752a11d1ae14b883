"""What bench/talks says, in Markdown: what was measured, and what the talks say beside it."""
import statistics

WAYS = ('bare', 'nginx', 'gyre')
SAID = {'/json': '3–4', '/rand': '5–6', '/rand/away': '5–6'}
TITLES = {'/json': 'JSON', '/rand': 'GET /rand, SQLite',
          '/rand/away': 'GET /rand, a store 5 ms away'}


def line(*cells):
    return '| ' + ' | '.join(cells) + ' |'


def head(*cells):
    return [line(*cells), line('---', *['---:'] * (len(cells) - 1))]


def with_errors(said, one):
    return said + (f', {one["errors"]} errors' if one['errors'] else '') + \
        (' ~' if one['disturbed'] else '')


def apps_of(found):
    return list(dict.fromkeys(app for app, _, _ in found['pages']))


# --- Pages ----------------------------------------------------------------------------------------

def pages(found, about):
    if not found['pages']:
        return []
    lines = ['', f'Requests a second, {about["processes"]} processes each: bare / behind nginx / '
             'behind gyre', '', *head('', *TITLES.values())]
    for app in apps_of(found):
        name, server, _ = about['names'][app]
        cells = [' / '.join(with_errors(f'{one["per_s"]:,.0f}', one) for one in
                            (found['pages'][app, page, way] for way in WAYS)) for page in TITLES]
        lines.append(line(f'{name}, {server}', *cells))
    return lines + ratios(found, about)


def ratio_rows(found, about, page, way):
    """(words, ratio) of asynchronous to synchronous ones."""
    each = {app: found['pages'][app, page, way]['per_s'] for app in apps_of(found)}
    sync = [per_s for app, per_s in each.items() if app in about['sync']]
    others = [per_s for app, per_s in each.items() if app not in about['sync']]
    if each.get('sanic') and each.get('flask'):
        yield 'Sanic to Flask', each['sanic'] / each['flask']
    if others and sync and statistics.median(sync):
        yield 'median to median', statistics.median(others) / statistics.median(sync)
        yield 'fastest to fastest', max(others) / max(sync)


def ratios(found, about):
    lines = []
    for page, title in TITLES.items():
        by_way = [list(ratio_rows(found, about, page, way)) for way in WAYS]
        marks = [' ~' if any(found['pages'][app, page, way]['disturbed'] for app in apps_of(found))
                 else '' for way in WAYS]
        for same in zip(*by_way):
            lines.append(line(f'{title}: {same[0][0]}', SAID[page],
                              *(f'{ratio:.1f}{mark}' for (_, ratio), mark in zip(same, marks))))
    return ['', 'How many times as fast asynchronous frameworks are', '',
            *head('', 'the talks', *WAYS), *lines] if lines else []


# --- Waits and the crowd --------------------------------------------------------------------------

def waits(found, about):
    if not found['waits']:
        return []
    lines = ['', f'{about["clients"]} clients, each request waits for 100 ms: requests a second '
             '(p50 / p99 in ms)', '', *head('', 'ideal', *WAYS)]
    for server in dict.fromkeys(server for server, _ in found['waits']):
        of_server = [found['waits'][server, way] for way in WAYS]
        cells = [with_errors(f'{one["per_s"]:,.0f} ({one["p50_ms"]:,.0f} / {one["p99_ms"]:,.0f})',
                             one) for one in of_server]
        lines.append(line(server, f'{of_server[0]["ideal"]:,.0f}', *cells))
    return lines


def crowd(found, about):
    if not found['crowd']:
        return []
    shared = '' if about['proxies'] == 1 else \
        ' (two proxies of a kind, as one may not have the descriptors)'
    lines = ['', f'{about["count"]:,} WebSockets on one process of Tornado{shared}', '',
             *head('', 'stand', 'errors, lost', 'all after', 'message: all heard, the last after',
                   'proxy, each', 'app, each')]
    for way in WAYS:
        one = found['crowd'][way,]
        lines.append(line(way + (' ~' if one['disturbed'] else ''), f'{one["connected"]:,.0f}',
                          f'{one["errors"]}, {one["lost"]:.0f}', f'{one["open_s"]:.1f} s',
                          f'{one["heard"]:,.0f}, {one["last_s"]:.2f} s',
                          f'{one["proxy_bytes"] / 1024:.1f} KiB' if way != 'bare' else '',
                          f'{one["app_bytes"] / 1024:.1f} KiB'))
    return lines


def about_it(about):
    m = about['machine']
    return (f'{m["cpu"]}, {m["cores"]} cores, Linux {m["kernel"]}, {about["nginx"]}; load before '
            f'{about["load"][0]:.2f}. App servers on one core, all else on the other. Medians of '
            f'{about["rounds"]} rounds, pages {about["seconds"]:g} s each; ~: disturbed.')


def markdown(found, about):
    lines = [about_it(about), *pages(found, about), *waits(found, about), *crowd(found, about)]
    if about['lacking']:
        lines += ['', f'Sanic: not run here: {next(iter(about["lacking"].values()))}']
    return '\n'.join(lines)
