"""What the README and the man page say of gyre is what gyre says of itself."""
import os
import re

from harness import SHARED, check, equal, path, run_gyre, write

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def document(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def printed(*args):
    rc, out, err = run_gyre(*args)
    equal([rc, err], [0, ""], " ".join(args))
    return out


def stands_in_readme(which):
    """After a change of the table: packaging/readme build/gyre"""
    marks = re.compile(rf"<!-- {which} begin[^>]*-->\n(.*?)<!-- {which} end -->", re.S)
    found = marks.findall(document("README.md"))
    equal(len(found), 1, f"places for {which} in README.md")
    check(found[0] == printed("--doc", which),
          f"README.md is older than gyre --doc {which}: run packaging/readme build/gyre")


def test_readme_has_the_keys():
    stands_in_readme("keys")


def test_readme_has_the_close_reasons():
    stands_in_readme("close")


def test_the_page_of_what_is_refused():
    """After a change of the table: packaging/readme build/gyre"""
    check(document("packaging/refused.md") == printed("--doc", "refuse"),
          "packaging/refused.md is older than gyre --doc refuse: run packaging/readme build/gyre")
    check("](packaging/refused.md)" in document("README.md"), "README.md does not name the page")


def is_taken(name, ini):
    """--check takes it, once its files are those of this machine."""
    ini = re.sub(r"(?m)^certificate = \S+", f"certificate = {SHARED['cert']}", ini)
    ini = re.sub(r"(?m)^key = \S+", f"key = {SHARED['key']}", ini)
    secret = write("secret", "s" * 32)
    os.chmod(secret, 0o600)
    ini = re.sub(r"(?m)^secret_file = \S+", f"secret_file = {secret}", ini)
    ini = re.sub(r"(?m)^user = \S+", "user = root", ini)
    ini = re.sub(r"(?m)^access_log = /\S+", f"access_log = {path('access.log')}", ini)
    rc, out, err = run_gyre("--check", "-c", write(name, ini))
    equal(rc, 0, f"gyre --check of an example: {out}{err}")


def test_examples_are_taken():
    blocks = re.findall(r"```ini\n(.*?)```", document("README.md"), re.S)
    blocks += re.findall(r"\.Bd [^\n]*\n(\[.*?)\.Ed\n", document("packaging/gyre.8"), re.S)
    check(len(blocks) >= 2, "no examples were found")
    for number, block in enumerate(blocks):
        is_taken(f"example{number}.ini", block)


def test_pages_of_app_servers():
    """Each example of packaging/docs is taken, and each page is linked from the README."""
    readme = document("README.md")
    pages = sorted(os.listdir(os.path.join(ROOT, "packaging/docs")))
    check(len(pages) >= 5, "pages:", pages)
    for page in pages:
        check(f"](packaging/docs/{page})" in readme, f"README.md does not name {page}")
        blocks = re.findall(r"```ini\n(.*?)```", document(f"packaging/docs/{page}"), re.S)
        check(blocks, f"no examples were found in {page}")
        for number, block in enumerate(blocks):
            is_taken(f"{page}{number}.ini", block)


def test_man_page_has_every_flag():
    page = document("packaging/gyre.8")
    flags = set(re.findall(r"--([a-z]+)", printed("--help")))
    check(len(flags) >= 8, "--help names", sorted(flags))
    described = set(re.findall(r"(?m)^\.It.* -([a-z]+)", page))
    equal(flags - described, set(), "flags that gyre(8) does not describe")
    equal(described - flags - {"config"}, set(), "flags that --help does not name")
    for word in re.search(r"--doc (\S+)", printed("--help")).group(1).split("|"):
        check(f".It Fl -doc Cm {word}\n" in page, f"gyre(8) does not describe --doc {word}")
        check(printed("--doc", word), f"--doc {word} prints nothing")
