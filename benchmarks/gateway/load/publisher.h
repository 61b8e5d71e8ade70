/* One thread that publishes at a steady rate, in turn to every session, over one pipelined connection. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "histogram.h"
#include "options.h"
#include "plan.h"

struct publisher {
    const struct options *options;
    struct session *plan;
    pthread_t thread;
    atomic_bool stopping, stopped;
    int fd;
    /* To be read when it has stopped: */
    uint64_t published, acknowledged;
    struct histogram late_us; /* how far behind its time each event was stamped */
    char refusal[200];        /* the first answer that was not an acknowledgement */
};

/* Returns -1 when it cannot connect. */
int publisher_start(struct publisher *publisher, const struct options *options, struct session *plan);

/* After `stopping` was set and `stopped` was seen. */
void publisher_join(struct publisher *publisher);
