"""The picture of bench/edge: what slow clients of each kind leave of an app's answers, and what
stands in front of it."""
from xml.sax.saxutils import escape

LEFT, TOP, CELL_W, CELL_H, GAP = 156, 92, 168, 78, 12
BAR_W, BAR_GAP, BARS_H = 32, 7, 50
BAD_SHARE = 0.5         # a bar below is drawn as trouble

STYLE = '''
    .card { fill: #f6f8fa; stroke: #d0d7de; }
    .line { stroke: #8c959f; stroke-width: 1; }
    .most { stroke: #8c959f; stroke-width: 1; stroke-dasharray: 3 3; }
    text  { fill: #1f2328; font-size: 13px; }
    .head { font-size: 15px; font-weight: 600; }
    .note { font-size: 12.5px; fill: #57606a; }
    .tiny { font-size: 11px; fill: #57606a; }
    .mid  { text-anchor: middle; }
    .peer { fill: #8c959f; }
    .ours { fill: #0969da; }
    .bad  { fill: #cf222e; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; stroke: #30363d; }
      .line, .most { stroke: #6e7681; }
      text  { fill: #e6edf3; }
      .note, .tiny { fill: #9da7b1; }
      .peer { fill: #8b949e; }
      .ours { fill: #58a6ff; }
      .bad  { fill: #ff7b72; }
    }'''


def text(x, y, said, kind=''):
    return f'<text x="{x:g}" y="{y:g}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>' \
           f'{escape(said)}</text>'


def cell(x, y, bars, ours, most):
    """One kind before one stand: a bar for each number of slow clients."""
    base = y + CELL_H - 10
    parts = [f'<path class="line" d="M{x} {base + 0.5} h{CELL_W - 12}"/>',
             f'<path class="most" d="M{x} {base - BARS_H + 0.5} h{CELL_W - 12}"/>']
    for nth, (_, per_s) in enumerate(bars):
        at = x + 4 + nth * (BAR_W + BAR_GAP)
        height = BARS_H * min(per_s / most, 1.2)
        bad = per_s < BAD_SHARE * most
        if height > 0:
            parts.append(f'<rect class="{"bad" if bad else "ours" if ours else "peer"}" x="{at}" '
                         f'y="{base - height:.1f}" width="{BAR_W}" height="{height:.1f}"/>')
        # Not through the dashed line.
        top = max(height, BARS_H) if height > BARS_H - 18 else height
        parts.append(text(at + BAR_W / 2, base - top - 4, f'{per_s:.0f}',
                          'bad mid' if bad else 'mid'))
    return parts


def burst_said(asked):
    """What became of a burst, and whether that is bad."""
    if asked['unanswered']:
        return f'{asked["unanswered"]} unanswered', True
    if asked['errors']:
        error, count = max(asked['errors'].items(), key=lambda item: item[1])
        return f'{count} × {error}', True
    return f'all, in {asked["seconds"]:.1f} s', False


def draw(found, bursts, stands, names, kinds, most):
    """found: (kind, count, stand) -> {'per_s': ...}; only what was measured before every stand.
    bursts: stand -> what bench/edge_ask.py said of it."""
    whole = [(kind, count) for kind, count, _ in dict.fromkeys(found)
             if all((kind, count, stand) in found for stand in stands)]
    counts = [0] + sorted({count for _, count in whole if count})
    rows = [kind for kind in kinds if any(kind == k and count for k, count in whole)]
    width = LEFT + len(stands) * (CELL_W + GAP) + 8
    burst_y = TOP + len(rows) * (CELL_H + GAP) + 46
    whole_bursts = all(stand in bursts for stand in stands)
    height = burst_y + (62 if whole_bursts else 24)
    calm = {stand: found['mixed', 0, stand]['per_s'] for stand in stands}
    said = ' · '.join(f'{count:,}' for count in counts)
    parts = [text(24, 34, 'What slow clients leave of an app with four workers', 'head'),
             text(24, 54, f'requests a second of normal clients that succeed, beside {said} slow '
                          f'ones; {most:.0f} are the most (dashed)', 'note')]
    for column, stand in enumerate(stands):
        x = LEFT + column * (CELL_W + GAP)
        parts.append(text(x + 4, TOP - 10, names[stand], 'head'))
        if whole_bursts:
            said, bad = burst_said(bursts[stand])
            parts.append(text(x + 4, burst_y, said, 'bad' if bad else ''))
        for line, kind in enumerate(rows):
            bars = [(count, calm[stand] if count == 0 else found[kind, count, stand]['per_s'])
                    for count in counts if count == 0 or (kind, count, stand) in found]
            parts += cell(x, TOP + line * (CELL_H + GAP), bars, stand == 'gyre', most)
        for nth, count in enumerate(counts):
            parts.append(text(x + 4 + nth * (BAR_W + BAR_GAP) + BAR_W / 2,
                              TOP + len(rows) * (CELL_H + GAP) - GAP + 8, f'{count:,}',
                              'tiny mid'))
    for line, kind in enumerate(rows):
        y = TOP + line * (CELL_H + GAP) + CELL_H - 30
        parts.append(text(24, y, kinds[kind], 'head'))
    if whole_bursts:
        asked = bursts['gyre']
        burst = asked['answered'] + asked['unanswered'] + sum(asked['errors'].values())
        parts.append(text(24, burst_y, f'{burst:,} at once', 'head'))
    parts.append(text(24, height - 36, 'Flask, 50 ms a request, gunicorn -w 4 (sync); backlog 64 '
                      'where many come at once.', 'note'))
    parts.append(text(24, height - 18, 'nginx: as gunicorn\'s documentation sets it up. HAProxy: '
                      'maxconn 4, http-buffer-request. gyre: server, slots = 4.', 'note'))
    body = '\n  '.join(parts)
    return f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}"
     role="img" aria-labelledby="title" font-family="system-ui, 'DejaVu Sans', sans-serif">
  <title id="title">What slow clients leave of an app with four workers</title>
  <style>{STYLE}
  </style>
  <rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>
  {body}
</svg>
'''
