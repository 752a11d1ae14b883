"""The environment of what Debian has not: Debian's packages, and requirements.txt on top."""
import hashlib
import os
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
REQUIREMENTS = os.path.join(HERE, "requirements.txt")
PYTHON = "/usr/bin/python3"     # Debian's own, which has Debian's packages
PIP_SECONDS_MAX = 300


def requirements():
    """name: the line, with its version."""
    with open(REQUIREMENTS, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip() and line[0] != "#"]
    return {re.match(r"[\w-]+", line).group(): line for line in lines}


class Environment:
    """Made once, and again after a change of requirements.txt. lacking: package: why."""
    def __init__(self, wanted):
        self.python, self.lacking = PYTHON, {}
        if not wanted:
            return
        with open(REQUIREMENTS, "rb") as file:
            mark = hashlib.sha256(file.read()).hexdigest()[:12]
        self.folder = os.path.join(ROOT, "build-apps", mark)
        self.python = os.path.join(self.folder, "bin/python")
        lines = requirements()
        for package in sorted(wanted):
            why = self.install(package, lines[package])
            if why:
                self.lacking[package] = why

    def install(self, package, line):
        """Why it could not be."""
        done = os.path.join(self.folder, f"has-{package}")
        if os.path.exists(done):
            return ""
        try:
            self.make()
            self.run(self.python, "-m", "pip", "install", "--quiet", "--no-deps",
                     "--disable-pip-version-check", line)
        except (OSError, subprocess.SubprocessError) as failure:
            said = getattr(failure, "stdout", None) or str(failure)
            return f"pip can not install {line}: {said.strip().splitlines()[-1][:200]}"
        with open(done, "w", encoding="utf-8"):
            return ""

    def make(self):
        if os.access(self.python, os.X_OK):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.run(PYTHON, "-m", "venv", "--system-site-packages", self.folder)

    @staticmethod
    def run(*args):
        subprocess.run(args, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, errors="replace",
                       timeout=PIP_SECONDS_MAX)
