#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives what takes a file's streams apart every input that was found interesting by fuzzing, and these joined and changed at random places.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/fuzz.sh"
requires_root
requires_program python3

replay_corpus fuzz-stream stream 2000
