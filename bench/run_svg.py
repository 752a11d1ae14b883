"""The picture of bench/run: what gyre takes of what nginx and HAProxy take, a bar each."""
import statistics
from xml.sax.saxutils import escape

import stands

LEFT, TOP, ROW_H, BAR_H, WIDE, RIGHT = 330, 92, 42, 13, 440, 70
MOST = 1.25             # of the scale; a longer bar is cut, and says its figure

STYLE = '''
    .card { fill: #f6f8fa; stroke: #d0d7de; }
    .even { stroke: #8c959f; stroke-width: 1; stroke-dasharray: 3 3; }
    .must { stroke: #1f2328; stroke-width: 2; }
    text  { fill: #1f2328; font-size: 13px; }
    .head { font-size: 15px; font-weight: 600; }
    .note { font-size: 12.5px; fill: #57606a; }
    .tiny { font-size: 11px; fill: #57606a; }
    .mid  { text-anchor: middle; }
    .nginx   { fill: #0969da; }
    .haproxy { fill: #8250df; }
    .bad  { fill: #cf222e; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; stroke: #30363d; }
      .even { stroke: #6e7681; }
      .must { stroke: #e6edf3; }
      text  { fill: #e6edf3; }
      .note, .tiny { fill: #9da7b1; }
      .nginx   { fill: #58a6ff; }
      .haproxy { fill: #bc8cff; }
      .bad  { fill: #ff7b72; }
    }'''


def text(x, y, said, kind=''):
    attribute = f' class="{kind}"' if kind else ''
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(said)}</text>'


def shown_of(row, summary):
    """(title, [(peer, ratio, must)]) of gyre to each of the two, in a variant that all run in; None
    where there is nothing to compare, or another row has it."""
    peers = summary['peers']
    variant = next((v for v in ('+stream', '', '+unix', '+rsa') if f'gyre{v}' in peers and
                    f'nginx{v}' in peers), None)
    if variant is None or not summary['counted'] or row.how == 'memory' or row.name == 'log':
        return None
    musts = {claim['words']: claim['must'] for claim in summary['claims']}
    bars = []
    for peer in ('nginx', 'haproxy'):   # HAProxy has no other way than to stream
        theirs = f'{peer}{variant}' if f'{peer}{variant}' in peers else peer
        value = statistics.median(f[f'gyre{variant}'] / f[theirs] for f in summary['figures'])
        bars.append((peer, value, musts.get(f'gyre{variant} / {theirs}')))
    name = variant[1:] if variant in ('+unix', '+rsa') else None
    return ': '.join((row.title, stands.VARIANTS[name])) if name else row.title, bars


def bar(y, peer, value, must):
    length = WIDE * min(value, MOST) / MOST
    mark = WIDE * must / MOST if must is not None else 0
    at = LEFT + (mark if length < mark < length + 40 else length) + 6   # not through the mark
    parts = [f'<rect class="{peer}" x="{LEFT}" y="{y:g}" width="{length:.1f}" height="{BAR_H}"/>',
             text(at, y + BAR_H - 2, f'{value:.2f}', 'bad' if mark and value > must else '')]
    if mark:
        parts.append(f'<path class="must" d="M{LEFT + mark:.1f} {y - 1:g} v{BAR_H + 2}"/>')
    return parts


def draw(chosen, found, about):
    """found: the summaries of the rows that were chosen, in their order."""
    shown = [one for one in map(shown_of, chosen, found) if one]
    height, width = TOP + len(shown) * ROW_H + 64, LEFT + WIDE + RIGHT
    even = LEFT + WIDE / MOST
    parts = [text(24, 34, 'What gyre takes of what the others take', 'head'),
             text(24, 54, 'CPU time per request or byte, or p99.9 of the latency, to nginx\'s and '
                          'HAProxy\'s; less is better', 'note'),
             f'<rect class="nginx" x="{LEFT}" y="66" width="12" height="12"/>',
             text(LEFT + 18, 77, 'to nginx'),
             f'<rect class="haproxy" x="{LEFT + 100}" y="66" width="12" height="12"/>',
             text(LEFT + 118, 77, 'to HAProxy'),
             f'<path class="even" d="M{even:.1f} {TOP - 8} V{height - 56}"/>',
             text(even, TOP - 14, 'the same', 'tiny mid')]
    for nth, (title, bars) in enumerate(shown):
        y = TOP + nth * ROW_H
        parts.append(text(24, y + BAR_H + 6, title))
        for line, (peer, value, must) in enumerate(bars):
            parts += bar(y + line * (BAR_H + 2), peer, value, must)
    machine = about['machine']
    parts += [text(24, height - 34, f'{machine["cpu"]}, {machine["cores"]} cores, Linux '
                   f'{machine["kernel"]}; {", ".join(versions(about))}.', 'note'),
              text(24, height - 16, f'Medians of {about["rounds"]} interleaved rounds of '
                   f'{about["seconds"]:g} s, one worker each. A mark on a bar: what gyre must not '
                   f'exceed.', 'note')]
    body = '\n  '.join(parts)
    return f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}"
     role="img" aria-labelledby="title" font-family="system-ui, 'DejaVu Sans', sans-serif">
  <title id="title">What gyre takes of what the others take</title>
  <style>{STYLE}
  </style>
  <rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>
  {body}
</svg>
'''


def versions(about):
    said = {'nginx': 'nginx/', 'haproxy': 'HAProxy version '}
    for name, words in said.items():
        version = about['versions'][name]['version'].partition(words)[2].split(' ')[0]
        yield f'{"HAProxy" if name == "haproxy" else name} {version}'
