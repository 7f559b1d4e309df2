"""Prints the licences of all that is in the programs: each crate with its licence, and each text once.

Usage: deploy/third-party.py, from the top of the tree. Reads what `cargo metadata --locked --offline` tells.
"""

import json
import pathlib
import subprocess
import sys

# Not linked as crates, but compiled into the static program.
COMPILED = {"openssl-src"}
NAMES = ("license", "licence", "copying", "copyright", "unlicense", "notice")


def metadata():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--offline", "--all-features"]
    command += ["--filter-platform=x86_64-unknown-linux-musl"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def linked(graph):
    """The ids of what the program is linked from: normal dependencies, from the root down."""
    nodes = {node["id"]: node["deps"] for node in graph["resolve"]["nodes"]}
    found, waiting = set(), [graph["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting += [dep["pkg"] for dep in nodes[package] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    return found - {graph["resolve"]["root"]}


def main():
    graph = metadata()
    names = linked(graph)
    packages = [package for package in graph["packages"] if package["id"] in names or package["name"] in COMPILED]
    packages.sort(key=lambda package: (package["name"], package["version"]))
    texts = {}
    print("What sealrelay is made of, and under which licences. Their texts follow.\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}")
        for file in sorted(pathlib.Path(package["manifest_path"]).parent.iterdir()):
            if file.is_file() and file.name.lower().startswith(NAMES):
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                texts.setdefault(text, []).append(f"{package['name']} {package['version']}, {file.name}")
    for text, users in texts.items():
        print("\n" + "=" * 80 + "\n" + "\n".join(users) + "\n" + "-" * 80 + "\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
