#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# This test gives what umbrad's host reads from the process on the bus every input of the fuzzer's corpus, and these joined and changed at random places.
. "$(dirname "$0")/../../lib/functions.sh"
. "$TOP/tests/lib/fuzz.sh"
requires_program python3

replay_corpus fuzz-request request 500
