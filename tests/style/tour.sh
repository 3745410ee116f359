#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test checks that every file and function that docs/TOUR.md names exists, the function in one of the files named before it, and that the other documents link
# to files that exist.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program python3

cd "$TOP"
python3 - <<'END' || fail "the documents name what does not exist"
import glob, os, re, sys

complaints = []
with open("docs/TOUR.md", encoding="utf-8") as f:
    tour = f.read()
files = re.findall(r"`([\w/.-]+\.(?:c|h|sh|json))`", tour)
functions = re.findall(r"`(\w+)\(\)`", tour)
if len(files) < 20 or len(functions) < 30:
    complaints.append(f"docs/TOUR.md: only {len(files)} files and {len(functions)} functions found in it")
sources = {}
for name in sorted(set(files)):
    if name == "backup.json":
        continue
    if not os.path.exists(name):
        complaints.append(f"docs/TOUR.md: there is no {name}")
        continue
    with open(name, encoding="utf-8") as f:
        sources[name] = f.read()
# Defined: its name at the head of a line that does not end in a semicolon.
for function in sorted(set(functions)):
    pattern = re.compile(r"^[a-z][\w \*]*?\b" + function + r"\([^;]*?\)\s*(?:__attribute__\S*\s*)?\{", re.M)
    if not any(pattern.search(text) for text in sources.values()):
        complaints.append(f"docs/TOUR.md: {function}() is in none of the files that it names")
for document in glob.glob("*.md") + glob.glob("docs/**/*.md", recursive=True) + glob.glob("*/DESIGN.md") + glob.glob("providers/*/*.md"):
    with open(document, encoding="utf-8") as f:
        text = f.read()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not os.path.exists(os.path.join(os.path.dirname(document), target)):
            complaints.append(f"{document}: links to {target}, which does not exist")
with open("docs/ARCHITECTURE.md", encoding="utf-8") as f:
    architecture = f.read()
for folder in sorted(d for d in os.listdir(".") if os.path.isdir(d) and not d.startswith((".", "build"))):
    if f"`{folder}/" not in architecture:
        complaints.append(f"docs/ARCHITECTURE.md: has no sentence for {folder}/")
print("\n".join(complaints))
sys.exit(bool(complaints))
END
