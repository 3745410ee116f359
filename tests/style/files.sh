#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test holds the house style that can be counted: what files are called and say first, how long they and their functions
# are, that no mark of unfinished work is left, that each hard folder's DESIGN.md names every source file of it.
# not-under: asan
. "$(dirname "$0")/../lib/functions.sh"
requires_program python3

cd "$TOP"
python3 - <<'END' || fail "the house style is not kept"
import os, re, sys

FOLDERS = "include common volume track cow providers coordinator libumbra view backup writers cli daemon examples tests bench".split()
HARD_FOLDERS = ("coordinator", "track", "cow", "providers/clone", "providers/files", "providers/btrfs", "view", "backup", "daemon", "writers/postgresql")
FILE_LINES_MAX, FUNCTION_LINES_MAX, LINE_CHARACTERS_MAX = 1000, 100, 140
complaints = []

def complain(text):
    complaints.append(text)

def functions(lines):
    """(first line, length) of each function: a brace at the end of an unindented line up to the next one alone in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and re.match(r"[A-Za-z_].*\)\s*\{$", line) or start is None and re.match(r"\s+.*\)\s*\{$", line) and number > 1 and re.match(r"[A-Za-z_]\S* .*\(.*,$", lines[number - 2]):
            start = number
        elif start is not None and line.startswith("}"):
            yield start, number - start + 1
            start = None

sources = sorted(os.path.join(d, f) for folder in FOLDERS for d, _, files in os.walk(folder) for f in files if f.endswith((".c", ".h")))
if len(sources) < 20:
    complain(f"only {len(sources)} source files found: looking in the wrong place")
for path in sources:
    if re.fullmatch(r"(util|utils|misc|helper|helpers|common|stuff)\.[ch]", os.path.basename(path)):
        complain(f"{path}: a file is called after its one noun")
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    if not re.match(r"/\* SPDX-License-Identifier: .+ \*/$|// SPDX-License-Identifier: .+$", lines[0]):
        complain(f"{path}:1: no SPDX line")
    # A small .c file may leave that to its header.
    if not any(line.startswith(("/*", "// ")) for line in lines[1:4]) and not os.path.exists(re.sub(r"\.c$", ".h", path)):
        complain(f"{path}:2: no header comment that says what the file is")
    if len(lines) > FILE_LINES_MAX:
        complain(f"{path}: {len(lines)} lines, more than {FILE_LINES_MAX}")
    for number, line in enumerate(lines, 1):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            complain(f"{path}:{number}: mark of unfinished work")
        if len(line) > LINE_CHARACTERS_MAX:
            complain(f"{path}:{number}: {len(line)} characters in a line")
    for start, length in functions(lines):
        if length > FUNCTION_LINES_MAX:
            complain(f"{path}:{start}: a function of {length} lines")
    if path.endswith(".h") and not path.startswith("include/") and "extern \"C\"" in "\n".join(lines):
        complain(f"{path}: only public headers are for C++")

for folder in HARD_FOLDERS:
    own = [f for f in os.listdir(folder) if f.endswith(".c")] if os.path.isdir(folder) else []
    if not own:
        continue
    try:
        with open(os.path.join(folder, "DESIGN.md"), encoding="utf-8") as f:
            design = f.read()
    except OSError:
        complain(f"{folder}: no DESIGN.md")
        continue
    for name in own:
        if name not in design:
            complain(f"{folder}/DESIGN.md does not name {name}")

print("\n".join(complaints))
sys.exit(bool(complaints))
END
