"""The picture of bench/talks: three bars for each figure, of the app bare, behind nginx and behind
gyre."""
from edge_svg import STYLE, text
from talks_report import TITLES, WAYS, apps_of

LEFT, COLUMN_W, BARS_W, TOP = 236, 216, 140, 84
BAR_H, ROW_H, GAP = 10, 42, 26
KINDS = {'bare': 'peer', 'nginx': 'nginx', 'gyre': 'ours'}
MORE_STYLE = '''
    .nginx { fill: #8250df; }
    @media (prefers-color-scheme: dark) { .nginx { fill: #bc8cff; } }'''
CROWD = {'all stand after': ('open_s', lambda v: f'{v:.1f} s'),
         'the last has a message after': ('last_s', lambda v: f'{v:.2f} s'),
         'memory of the proxy, each': ('proxy_bytes', lambda v: f'{v / 1024:.1f} KiB')}


def bars(x, y, of, name, most, said, ideal=None):
    """of: the figures of each way, by name; None is not drawn."""
    parts = []
    for nth, way in enumerate(WAYS):
        if of[nth] is None:
            continue
        value, at = of[nth][name], y + nth * (BAR_H + 1)
        words = said(value) + (' ~' if of[nth]['disturbed'] else '')
        length = BARS_W * value / most if most else 0
        mark = BARS_W * ideal / most if ideal else 0
        end = mark if length - 2 < mark < length + 52 else length       # not through the mark
        parts += [f'<rect class="{KINDS[way]}" x="{x}" y="{at:g}" width="{max(length, 1):.1f}" '
                  f'height="{BAR_H}"/>', text(x + end + 5, at + BAR_H - 1, words, 'tiny')]
    if ideal:
        parts.append(f'<path class="most" d="M{x + BARS_W * ideal / most + 0.5:.1f} {y - 4:g} '
                     f'v{3 * BAR_H + 10}"/>')
    return parts


def per_s(value):
    return f'{value:,.0f}'


def pages(found, about, y):
    """(parts, where they end)"""
    parts = [text(24, y, 'Requests a second', 'head')]
    parts += [text(LEFT + nth * COLUMN_W, y, title, 'note')
              for nth, title in enumerate(TITLES.values())]
    y += 14
    apps = apps_of(found)
    most = {page: max(one['per_s'] for (_, p, _), one in found['pages'].items() if p == page)
            for page in TITLES}
    for app in apps:
        name, server, _ = about['names'][app]
        parts += [text(24, y + 14, name), text(24, y + 29, server, 'tiny')]
        for nth, page in enumerate(TITLES):
            parts += bars(LEFT + nth * COLUMN_W, y,
                          [found['pages'][app, page, way] for way in WAYS], 'per_s', most[page],
                          per_s)
        y += ROW_H
    return parts, y + GAP


def waits(found, about, y):
    servers = list(dict.fromkeys(server for server, _ in found['waits']))
    most = max(one['ideal'] for one in found['waits'].values())
    parts = [text(24, y, f'{about["clients"]} clients, 100 ms a request', 'head'),
             text(LEFT + 60, y, 'requests a second; dashed: the ideal', 'note'),
             text(LEFT + 2 * COLUMN_W, y, 'p99', 'note')]
    y += 14
    longest = max(one['p99_ms'] for one in found['waits'].values())
    for server in servers:
        parts.append(text(24, y + 20, server))
        each = [found['waits'][server, way] for way in WAYS]
        parts += bars(LEFT + 60, y, each, 'per_s', most, per_s, each[0]['ideal'])
        parts += bars(LEFT + 2 * COLUMN_W, y, each, 'p99_ms', longest,
                      lambda ms: f'{ms:,.0f} ms')
        y += ROW_H
    return parts, y + GAP


def crowd(found, about, y):
    parts = [text(24, y, f'{about["count"]:,} WebSockets', 'head')]
    of = [found['crowd'][way,] for way in WAYS]
    proxied = [None, *of[1:]]
    for nth, (title, (name, said)) in enumerate(CROWD.items()):
        x = LEFT + nth * COLUMN_W
        parts += [text(x, y, title, 'note'),
                  *bars(x, y + 14, proxied if name == 'proxy_bytes' else of, name,
                        max(one[name] for one in of), said)]
    parts += [text(24, y + 28, 'Tornado, one process'),
              text(24, y + 43, f'behind gyre: {of[2]["connected"]:,.0f}, {of[2]["errors"]} errors',
                   'tiny')]
    return parts, y + 14 + ROW_H + GAP


def legend():
    parts = []
    for nth, (way, said) in enumerate((('bare', 'bare'), ('nginx', 'behind nginx'),
                                       ('gyre', 'behind gyre'))):
        x = LEFT + nth * 130
        parts += [f'<rect class="{KINDS[way]}" x="{x}" y="42" width="12" height="12"/>',
                  text(x + 18, 53, said)]
    return parts


def draw(found, about):
    title = 'Synchronous and asynchronous Python behind gyre'
    parts, y = [text(24, 30, title, 'head'), *legend()], TOP
    for name, part in (('pages', pages), ('waits', waits), ('crowd', crowd)):
        if found[name]:
            more, y = part(found, about, y)
            parts += more
    width, machine = LEFT + 3 * COLUMN_W + 12, about['machine']
    parts.append(text(24, y, f'{machine["cpu"]}, {machine["cores"]} cores: the app servers have '
                      f'one, in {about["processes"]} processes, all else the other. '
                      f'Medians of {about["rounds"]} rounds; ~: disturbed.', 'note'))
    height, body = y + 18, '\n  '.join(parts)
    return f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}"
     role="img" aria-labelledby="title" font-family="system-ui, 'DejaVu Sans', sans-serif">
  <title id="title">{title}</title>
  <style>{STYLE}{MORE_STYLE}
  </style>
  <rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>
  {body}
</svg>
'''
