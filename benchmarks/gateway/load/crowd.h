/* All clients, read by one loop, and what they saw together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "histogram.h"
#include "options.h"

/* Events that were stamped in [from_us, to_us): how long they took to the watched clients. */
struct span {
    uint64_t from_us, to_us;
    struct histogram took_us;
};

struct crowd {
    const struct options *options;
    struct session *plan;
    struct client *clients;
    int epoll;
    int watched;               /* the first so many clients: their latency is measured */
    int next, last, at_once;   /* clients still to be opened: next to last - 1 */
    int opening, open;         /* connections on their way, and those that stand */
    struct span spans[2];
    struct histogram opened_us;
    uint64_t delivered, first_us, last_us;
    uint64_t gaps;             /* numbers that were skipped */
    uint64_t repeats;          /* events at or below one that was shown already */
    uint64_t strays;           /* events of another session */
    uint64_t broken;           /* frames that are neither an event as it was published nor the greeting */
    uint64_t refused, closed;  /* connections that got no stream, and streams that the server ended */
    char sample[400];          /* of what was refused or broken first */
};

/* NULL when there is no memory or no epoll. */
struct crowd *crowd_of(const struct options *options, struct session *plan);

/* Lets the clients first, …, last - 1 connect, `at_once` at a time, while the crowd runs. */
void crowd_enter(struct crowd *crowd, int first, int last, int at_once);

/* Reads until `until_us`, or until `done` says so: whether it did. `done` may be NULL. */
bool crowd_run(struct crowd *crowd, uint64_t until_us, bool (*done)(const struct crowd *crowd));

/* A `done`: everybody who should is connected, or was refused. */
bool crowd_entered(const struct crowd *crowd);

/* The clients first, …, last - 1 drop their connections. */
void crowd_leave(struct crowd *crowd, int first, int last);
