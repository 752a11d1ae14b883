"""The matrix as text: a row for each server, a column for each question."""


class Results:
    """What became of each row: {name: {question: (word, why)}}; word: ok, FAIL, n/a."""
    def __init__(self, rows, questions):
        self.rows, self.questions = rows, list(questions)
        self.cells, self.absent = {}, {}

    def count(self, word):
        return sum(w == word for cells in self.cells.values() for w, _ in cells.values())

    def notes(self):
        """why: the (row, question) pairs that it is said of; each has its number in the table."""
        notes = {}
        for row in self.rows:
            for name, (word, why) in self.cells.get(row.name, {}).items():
                if word != "FAIL" and why:
                    notes.setdefault(why, []).append((row.name, name))
        return notes


def table(results):
    """Lines of cells, the head first, and the notes that their numbers stand for."""
    notes = results.notes()
    number = {place: i for i, places in enumerate(notes.values(), 1) for place in places}
    lines = [["", *results.questions]]
    for row in results.rows:
        if row.name in results.absent:
            continue
        cells = results.cells.get(row.name, {})
        line = [row.name]
        for name in results.questions:
            word = cells.get(name, ("", ""))[0]
            mark = number.get((row.name, name))
            line.append(word + (f" ({mark})" if mark else ""))
        lines.append(line)
    return lines, [f"({i}) {why}" for i, why in enumerate(notes, 1)]


def absences(results):
    return [f"{name}: not run here: {why}" for name, why in results.absent.items()]


def plain(results):
    lines, notes = table(results)
    wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(n) for cell, n in zip(line, wide)).rstrip() for line in lines]
    return "\n".join(text + notes + absences(results))


INTRO = """Each row is a server that was started for real, on a port and on a unix socket, with
gyre in front over HTTP and over HTTPS; `tests/apps/questions.py` says what is asked, `rows.py` how
each is started. gyre's configuration has its listeners, `server =`, and where the server has so
many workers, `slots =`; beside these only `protocol = uwsgi` and `sticky = socketio` in the rows
that are about them. Printed by `{}`."""


def markdown(results, command):
    """The page packaging/apps.md."""
    lines, notes = table(results)
    lines[0][0] = "server"
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    rows.insert(1, "|" + "---|" * len(lines[0]))
    listed = [f"- {line}" for line in notes + absences(results)]
    return "\n".join(["# App servers behind gyre", "", INTRO.format(command), "", *rows, "",
                      *listed, ""])
