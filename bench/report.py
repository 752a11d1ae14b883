"""What bench/run says: a line for each round, tables in Markdown, and what holds."""
import rows
import stands

COLUMNS = ('gyre', 'nginx', 'haproxy', 'relay', 'epoll')
DIGITS = {'us': 2, 'gib': 3, 'bytes': 0, 'p999': 0}


def tell(row, one):
    if 'figure' not in one:
        print(f'{row.name:14} {one["peer"]:14} {one["why_not"]}', flush=True)
        return
    unit = rows.FIGURES[row.figure][0]
    more = f'   {one["per_s"]:9.0f}/s   busy {one["busy"]:4.0%}' if 'per_s' in one else ''
    if 'kernel' in one:
        more = f'   kernel {one["kernel"]:,.0f} B in {one["sockets"]} sockets'
    if 'steady' in one:
        s = one['steady']
        more = (f'   p50 {s["p50_us"]:6} p99 {s["p99_us"]:6} us at {s["rate"]}/s   late p99 '
                f'{s["late_p99_us"]}')
    print(f'{row.name:14} {one["peer"]:14} {one["figure"]:9.{DIGITS[row.figure]}f} {unit}{more}   '
          f'{one["why_not"]}', flush=True)


# --- Tables ---------------------------------------------------------------------------------------

def line(*cells):
    return '| ' + ' | '.join(cells) + ' |'


def head(*cells):
    return [line(*cells), line('---', *['---:'] * (len(cells) - 1))]


def cases(row):
    """The lines of a row: one for each variant that it has, with the peers that run in it."""
    found = {}
    for peer in row.peers:
        found.setdefault(tuple(stands.variants(peer)), {})[stands.program(peer)] = peer
    for variant, peers in found.items():
        yield ': '.join((row.title, *(stands.VARIANTS[v] for v in variant))), peers


def table(chosen, found, label, cell, wanted):
    """A line for each case of the rows that are wanted; none where nothing is to be said."""
    lines = []
    for row, summary in zip(chosen, found):
        if wanted(row) and summary['peers']:
            mark = '' if summary['counted'] else ' ~'
            for title, peers in cases(row):
                cells = [cell(row, summary['peers'][peers[name]]) + mark if name in peers else ''
                         for name in COLUMNS]
                lines.append(line(title, *cells))
    return ['', label, '', *head('', *(stands.PROGRAMS[name] for name in COLUMNS)),
            *lines] if lines else []


def cell_figure(row, one):
    f, digits = one['figure'], DIGITS[row.figure]
    return f'{f["median"]:.{digits}f} ({f["least"]:.{digits}f}–{f["most"]:.{digits}f})'


def cell_rate(row, one):
    return f'{one["per_s"]["median"]:,.0f}'


def cell_latency(row, one):
    said = ' / '.join(f'{one[name]["median"]:.0f}' for name in ('p50_us', 'p99_us', 'p999_us'))
    errors = one['errors']['most']
    return said + (f', {errors} errors' if errors else '')


def cell_kernel(row, one):
    if 'kernel' not in one:
        return 'not told'
    return f'{one["kernel"]["median"]:,.0f} in {one["sockets"]["median"]} sockets'


def cell_balance(row, one):
    return f'{one["imbalance"]["median"]:.2f}' if 'imbalance' in one else '–'


def bound(claim, name):
    value = claim[name]
    return '' if value is None else f'≤ {value:g} {claim["unit"]}'.strip()


def holds(claim, summary):
    if claim['must'] is None or not summary['counted']:
        said = 'not measured' if not summary['counted'] else ''
    else:
        said = 'yes' if claim['holds'] else '**NO**'
    reached = (summary['counted'] and claim['aim'] is not None and
               claim['value']['median'] <= claim['aim'])
    return said + (', aim reached' if said and reached else 'aim reached' if reached else '')


def claims(chosen, found):
    lines = []
    for row, summary in zip(chosen, found):
        for claim in summary['claims']:
            v, digits = claim['value'], 0 if claim['unit'] == 'B' else 2
            said = f'{v["median"]:.{digits}f} ({v["least"]:.{digits}f}–{v["most"]:.{digits}f})' \
                if v else '–'
            lines.append(line(row.title, claim['words'], said + ('' if summary['counted'] or not v
                                                                 else ' ~'),
                              bound(claim, 'must'), bound(claim, 'aim'), holds(claim, summary)))
    return ['', 'What must hold, and what is aimed at (median of the cycles\' values)', '',
            *head('', 'of', 'measured', 'must', 'aim', 'holds'), *lines] if lines else []


def tables(chosen, found):
    lines = claims(chosen, found)
    for figure, (unit, words) in rows.FIGURES.items():
        lines += table(chosen, found, f'{words[0].upper()}{words[1:]}, {unit} (least–most)',
                       cell_figure, lambda row, figure=figure: row.figure == figure)
    lines += table(chosen, found,
                   'Kernel memory per connection, B, of all sockets that belong to it: the '
                   'proxy\'s, the client\'s, and a tunnel\'s to and of the origin',
                   cell_kernel, lambda row: row.how == 'memory')
    lines += table(chosen, found, 'Requests a second (clients and origin share the other core)',
                   cell_rate, lambda row: row.how == 'load')
    lines += table(chosen, found, 'Latency at a fixed rate, p50 / p99 / p99.9 in µs', cell_latency,
                   lambda row: row.how == 'latency')
    lines += table(chosen, found, 'Two workers: time of the busier one to the other\'s',
                   cell_balance, lambda row: any('+two' in peer for peer in row.peers))
    return '\n'.join(lines[1:])


def markdown(chosen, found, about, configs):
    m, lines = about['machine'], []
    lines.append(f'{m["cpu"]}, {m["cores"]} cores, {m["memory_gib"]} GiB, Linux {m["kernel"]}, '
                 f'{m["congestion_control"]}, over loopback; load before {about["load"][0]:.2f}. '
                 f'Medians of {about["rounds"]} undisturbed rounds of {about["seconds"]:g} s, '
                 f'interleaved; ~: there were not so many.')
    lines += ['', *head('', 'version', 'program', 'TLS library')]
    lines += [line(stands.PROGRAMS[name], one['version'], f'`{one["path"]}`',
                   f'`{one["libssl"]}`') for name, one in about['versions'].items()]
    b = about['built']
    lines += ['', f'gyre is built with {b["compiler"]}, `{b["flags"]}`, and runs with ' + ', '.join(
        f'{name} {one["version"]} (`{one["path"]}`)' for name, one in b['libraries'].items()) + '.']
    if len({one['libssl'] for one in about['versions'].values()}) > 1:
        lines += ['', '**Not all run with the same TLS library.**']
    lines += ['', tables(chosen, found), '',
              'Raw numbers are in run.json, with the configuration of every process. Of each '
              'program and variant, the first of each kind of row:']
    shown = set()
    for row in chosen:
        for peer, config in configs[row.name].items():
            if (peer, row.kind) not in shown:
                shown.add((peer, row.kind))
                lines += ['', f'<details><summary>{stands.said(peer)}, {row.kind}</summary>', '',
                          '```', config.rstrip(), '```', '', '</details>']
    return '\n'.join(lines)


def verdict(chosen, found):
    """The exit status, and why."""
    broken, missing, held = [], [], 0
    for row, summary in zip(chosen, found):
        for claim in summary['claims']:
            if claim['holds'] is False:
                broken.append(f'NO   {row.name}: {claim["words"]} is '
                              f'{claim["value"]["median"]:.2f}, must be {bound(claim, "must")}')
            held += claim['holds'] is True
        if not summary['counted']:
            missing.append(f'–    {row.name}: not measured, {summary["cycles"]} undisturbed '
                           f'cycles')
    return (1 if broken else 3 if missing else 0,
            [*broken, *missing, f'musts: {held} hold, {len(broken)} do not; rows not measured: '
             f'{len(missing)}'])
