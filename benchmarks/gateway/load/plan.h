/* What is read and what is written of each session, made by whoever starts this program.
 *
 * The file has, for each session, a line "path head_bytes tail_bytes stamp payload_bytes mark" and then the bytes of
 * head and tail. A request that publishes an event is head, a sequence as a RESP argument, and tail; without a head it
 * is the tail alone. `stamp` is where in the tail, `mark` where in the payload, the stamp has to stand:
 * "@<us, 16 digits> <number, 10> <session, 6>", so that reading it is slicing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { STAMP_BYTES = 1 + 16 + 1 + 10 + 1 + 6 };

struct stamp {
    uint64_t at_us, number, session;
};

struct session {
    const char *path, *head, *tail;
    size_t head_bytes, tail_bytes, stamp, payload_bytes, mark;
    uint64_t published; /* events so far: the number of the last one */
};

/* Ends the program with status 2 when the file is not such a plan. */
struct session *plan_read(const char *file, int sessions);

void stamp_write(char *to, struct stamp stamp);

/* 0 when no stamp stands there. */
int stamp_read(const char *from, struct stamp *stamp);
