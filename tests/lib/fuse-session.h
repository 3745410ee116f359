/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's side of one FUSE session, for unit tests and the fuzzer of the front: what the front reads and writes
 * on the session's descriptor (readv, writev, write) comes here. Whoever links fuse-session.c has these three calls
 * of its own; for other descriptors they do what they always do.
 */
#ifndef TESTS_LIB_FUSE_SESSION_H
#define TESTS_LIB_FUSE_SESSION_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new one, empty; the descriptor is closed by fuse_session_close(). One at a time. */
int fuse_session_open(void);
void fuse_session_close(void);

/* Queues a request as it is. Never blocks. */
void fuse_session_send_bytes(const void *packet, size_t bytes);
/* One with a header: its length and the given words, then arguments, then data (both may be empty). */
void fuse_session_send(uint32_t opcode, uint64_t node, uint64_t unique, const void *arguments, size_t argument_bytes,
                       const void *data, size_t data_bytes);

/*
 * The next answer, at most bytes of it; waits. Returns its true length. No answer of the front's is lost, and those
 * to a request that is not waited for are the caller's to judge.
 */
size_t fuse_session_receive(void *buffer, size_t bytes);
/* Answers that nobody has received yet. */
size_t fuse_session_answers(void);

/* What was asked for again (FUSE_NOTIFY_RESEND), and whether a request had been read, or somebody tried, by then. */
struct fuse_session_resend {
  unsigned count;
  bool after_read;
};
struct fuse_session_resend fuse_session_resent(void);

/* The most requests that were read before one was answered: those that the front had at once, if one thread reads. */
unsigned fuse_session_batch_most(void);

#endif
